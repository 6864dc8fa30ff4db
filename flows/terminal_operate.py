"""What ``rpo up`` and ``rpo resume`` say."""

from __future__ import annotations

from rich.markup import escape

from flows.operate import Operation
from flows.resume import Resumed
from flows.terminal import command_folder, err, out


def show_operation(operation: Operation) -> None:
    """What is up, where, and what to type next."""
    started = f"Started: {', '.join(operation.started)}." if operation.started else "Everything was up."
    server = "" if operation.server_is_ours else " (not started by `rpo up`)"
    out.print(f"{started} Deployments: {', '.join(operation.deployments)}.")
    for automation in operation.automations:
        out.print(f"Automation [bold]{automation.name}[/] is {'on' if automation.enabled else 'off'}.")
    on = ", ".join(operation.schedules_on)
    out.print(f"Schedules: {f'{on} is on' if on else 'none is on'}.")
    out.print(f"\n[bold]UI[/]    {operation.ui}{server}   a deployment's Run > Custom run shows its settings as a form")
    out.print(f"[bold]Logs[/]  {escape(operation.logs)}")
    folder = command_folder()
    out.print("\n[bold]Next[/]")
    commands = {
        f"export PREFECT_API_URL={operation.api}": "for Prefect's own commands; `rpo` finds the server by itself",
        f"{folder}prefect deployment run factory/factory": "a run by a worker, as from the UI",
        f"{folder}rpo resume": "goes on with the last run that failed or crashed",
        f"{folder}rpo down": "stops it all; runs, data and schedules stay",
    }
    width = max(map(len, commands))
    for command, meaning in commands.items():
        out.print(f"  {escape(command):<{width}}  {meaning}")


def announce_resumed(resumed: Resumed) -> None:
    """Which run goes on, why it had ended, and who makes what is missing. On stderr: a summary may follow."""
    at = f"\n      {resumed.url}" if resumed.url else ""
    what = f"Run [bold]{resumed.run}[/] (flow run {escape(resumed.flow_run)}) is {resumed.state}"
    if resumed.by == "nobody":
        err.print(f"{what}: there is nothing to resume.{at}")
        if resumed.may_be_gone:
            err.print("If its process is gone, the same command again goes on with it.")
        return
    err.print(f"{what}: {escape(resumed.message)}")
    if resumed.by == "this process":
        err.print("It was started from a command line: it goes on here.")
        return
    err.print(f"It came from a deployment: a worker takes it up within seconds.{at}")
    if not resumed.workers:
        err.print("[bold red]No worker of its pool is online.[/] Type `rpo up`.")
