"""What trainers read: preference pairs for TRL and LLaMA-Factory, and the baselines from the same responses."""

from storage.exports.files import EXPORTS_FOLDER, ExportSummary, export_run
from storage.exports.selection import Selection, select_rows

__all__ = ["EXPORTS_FOLDER", "ExportSummary", "Selection", "export_run", "select_rows"]
