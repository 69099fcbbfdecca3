"""One file per outside system; `type: slack` in the configuration *is* `connectors/sinks/slack.py`."""
