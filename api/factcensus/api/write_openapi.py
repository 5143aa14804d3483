"""Print the OpenAPI document of a service without indexes: ``python -m factcensus.api.write_openapi``."""

import json
import sys

from factcensus.api.app import create_app
from factcensus.api.settings import Settings

if __name__ == "__main__":
    json.dump(create_app(Settings()).openapi(), sys.stdout, indent=1, ensure_ascii=False)
    print()
