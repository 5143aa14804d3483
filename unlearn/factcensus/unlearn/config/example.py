"""An example configuration file, and the JSON Schema for editors."""

from __future__ import annotations

from typing import Any

from factcensus.unlearn.config.files import SWEEP
from factcensus.unlearn.config.run_config import RunConfig

#: Tests check that this is a valid configuration and that the defaults it states are the defaults.
EXAMPLE = """\
# factcensus unlearn plan run.toml     estimates memory and time without loading the model
# factcensus unlearn run run.toml      runs; the same command resumes an interrupted run

model = "allenai/OLMo-2-0425-1B"       # a folder, or a name on the Hugging Face Hub
facts = "facts.csv"                    # subject, object, question, ... (docs/counts.md)
out = "runs/first"
methods = ["simnpo", {preset = "grad_diff", learning_rate = 2e-6}]      # `factcensus unlearn list` shows all
seed = 0
template = "plain"                     # or "chat", or a text such as "Q: {prompt}\\nA: {answer}"
dtype = "float32"                      # on a GPU: "bfloat16-autocast", which keeps float32 parameters
# memory = "24GiB"                     # refuse runs that do not fit; by default the memory of the device
# trackers = ["jsonl"]                 # events.jsonl in the run folder, one line per step

[index]                                # facts without counts are counted here first
url = "http://127.0.0.1:8080"
name = "dolma"
bins = "quantile:3"                    # strata of the count: quantile:K, log10, edges:A,B,...

[selection.forget]
strata = [0, 1, 2]                     # 0 is the rarest; also: roles, relations, limit
known_before = true                    # only facts that the model knows

[selection.retain]
match = ["relation", "count"]          # as frequent as the facts to forget, within each relation
per_forget = 1

[training]
forms = ["question"]
passes = 4.0                           # the dose: how often each fact to forget is seen
learning_rate = 1e-5
batch_forget = 8
batch_retain = 8
# micro_batch = 2                      # less memory, same update
schedule = "constant"
warmup_share = 0.1

# [sweep]                              # every combination is a run in a subfolder of `out`
# seed = [0, 1, 2]
# "training.learning_rate" = [5e-6, 1e-5, 2e-5]
"""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration file, including preset names as methods and the ``sweep`` block."""
    schema = RunConfig.model_json_schema()
    method = {"anyOf": [{"$ref": "#/$defs/MethodConfig"}, {"type": "string", "description": "a preset's name"}]}
    schema["properties"]["methods"]["items"] = method
    # A preset sets the objective, so a table with a preset does not need one.
    schema["$defs"]["MethodConfig"].pop("required", None)
    schema["properties"][SWEEP] = {
        "description": "keys (dotted or nested) with lists of values: a grid of runs; a list of blocks is the union",
        "type": ["object", "array"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "factcensus unlearn", **schema}
