"""Training: the RPO trainer and the program that runs it as a process of its own. Needs the extra ``train``."""
