"""RPO against DPO where both can be measured in minutes: a small language model and constraints checked by code."""
