"""The sections of the report, one file each; `fer_kit.report.page` lists them in order."""
