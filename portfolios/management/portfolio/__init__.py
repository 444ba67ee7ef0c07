"""`ginkgo portfolio`, a file a noun; `management.commands.portfolio` puts them together."""
