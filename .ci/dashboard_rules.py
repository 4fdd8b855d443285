"""Writes every expression of the Grafana dashboard as a recording rule, so that promtool can check it.

The output is JSON, which is valid YAML.
"""

import json
import sys

with open("deploy/grafana/dashboards/killfeed.json", encoding="utf-8") as file:
    panels = json.load(file)["panels"]
expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
rules = [{"record": f"dashboard:{number}", "expr": expr} for number, expr in enumerate(expressions)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)
