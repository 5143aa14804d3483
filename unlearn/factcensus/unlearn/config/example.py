"""A configuration file to start from, and the JSON Schema that editors check one against."""

from __future__ import annotations

from typing import Any

from factcensus.unlearn.config.files import SWEEP
from factcensus.unlearn.config.run_config import RunConfig

#: Checked in the tests: it is a valid configuration, and every default it states is the default.
EXAMPLE = """\
# factcensus unlearn plan run.toml     what it takes, before anything is loaded
# factcensus unlearn run run.toml      the same command continues an interrupted run

model = "allenai/OLMo-2-0425-1B"       # a folder, or a name on the hub where it can be reached
facts = "facts.csv"                    # subject, object, question, ... (docs/counts.md)
out = "runs/first"
methods = ["simnpo", {preset = "grad_diff", learning_rate = 2e-6}]      # `factcensus unlearn list` names them
seed = 0
template = "plain"                     # or "chat", or a text such as "Q: {prompt}\\nA: {answer}"
dtype = "float32"                      # on a GPU: "bfloat16-autocast", float32 parameters all the same
# memory = "24GiB"                     # refuse what does not fit; what the device has if not given
# trackers = ["jsonl"]                 # events.jsonl in the run folder, a line a step

[index]                                # where facts without counts are counted, before anything else
url = "http://127.0.0.1:8080"
name = "dolma"
bins = "quantile:3"                    # strata of the count: quantile:K, log10, edges:A,B,...

[selection.forget]
strata = [0, 1, 2]                     # 0 is the rarest; also: roles, relations, limit
known_before = true                    # only what the model knows can be forgotten

[selection.retain]
match = ["relation", "count"]          # as frequent as what is forgotten, relation by relation
per_forget = 1

[training]
forms = ["question"]
passes = 4.0                           # the dose: each forget fact is seen so often
learning_rate = 1e-5
batch_forget = 8
batch_retain = 8
# micro_batch = 2                      # less memory, the same update
schedule = "constant"
warmup_share = 0.1

# [sweep]                              # every combination is a run of its own in `out`; finished ones stay finished
# seed = [0, 1, 2]
# "training.learning_rate" = [5e-6, 1e-5, 2e-5]
"""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file: methods may be names alone, and a ``sweep`` block may stand there."""
    schema = RunConfig.model_json_schema()
    method = {"anyOf": [{"$ref": "#/$defs/MethodConfig"}, {"type": "string", "description": "a preset's name"}]}
    schema["properties"]["methods"]["items"] = method
    # A preset brings the objective along, so a table with a preset need not have one.
    schema["$defs"]["MethodConfig"].pop("required", None)
    schema["properties"][SWEEP] = {
        "description": "keys (dotted or nested) with lists of values: a grid of runs; a list of such is their union",
        "type": ["object", "array"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "factcensus unlearn", **schema}
