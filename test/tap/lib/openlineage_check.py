#!/usr/bin/env python3
"""openlineage_check.py SCHEMAS: holds OpenLineage events, one JSON object a line on standard input, to the standard's JSON schemas.

SCHEMAS is a folder with OpenLineage.json and facets/. The core schema knows facets only as such, so each is held to the schema that
its _schemaURL names, which must be there and define it. Prints what is wrong, and ends with a line that counts; status 1 if anything was.
"""
import json
import pathlib
import sys

import jsonschema

schemas = pathlib.Path(sys.argv[1])
core = json.loads((schemas / 'OpenLineage.json').read_text())
facets = {}
for file in (schemas / 'facets').glob('*.json'):
    schema = json.loads(file.read_text())
    facets[schema['$id']] = schema
store = {core['$id']: core, **facets}
checker = jsonschema.FormatChecker()
checker.checkers.pop('regex', None)
counts = {'RunEvent': 0, 'DatasetEvent': 0, 'JobEvent': 0, 'facet': 0, 'own facet': 0}
wrong = []


def validate(what, value, schema, place):
    """Holds a value to a schema, or to a definition in one."""
    resolver = jsonschema.RefResolver(schema['$id'], schema, store=store)
    validator = jsonschema.Draft202012Validator({'$ref': schema['$id'] + place}, resolver=resolver, format_checker=checker)
    for error in validator.iter_errors(value):
        wrong.append(f'{what}: {error.json_path}: {error.message[:200]}')


def check_facets(what, holder, name):
    for key, facet in holder.get(name, {}).items():
        url = facet.get('_schemaURL', '')
        base, _, place = url.partition('#')
        if base in facets:
            counts['facet'] += 1
            validate(f'{what} {name}.{key}', facet, facets[base], '#' + place)
            if key not in facets[base]['properties']:
                wrong.append(f'{what}: {key} is no key of {base}')
        else:
            counts['own facet'] += 1
            if '_' not in key:
                wrong.append(f'{what}: facet {key} has the unknown schema {url}, and no prefix')


for line in sys.stdin:
    event = json.loads(line)
    kind = 'DatasetEvent' if 'dataset' in event else 'RunEvent' if 'run' in event else 'JobEvent'
    what = f"{kind} {event.get('eventType', '')} {event.get('dataset', event.get('job', {})).get('name')}"
    counts[kind] += 1
    validate(what, event, core, '')
    validate(what, event, core, f'#/$defs/{kind}')
    check_facets(what, event.get('run', {}), 'facets')
    check_facets(what, event.get('job', {}), 'facets')
    for dataset in [event[k] for k in ['dataset'] if k in event] + event.get('inputs', []) + event.get('outputs', []):
        for name in ['facets', 'inputFacets', 'outputFacets']:
            check_facets(f"{what} {dataset['name']}", dataset, name)

for line in wrong[:40]:
    print(line)
print(', '.join(f'{k} {v}' for k, v in counts.items()) + f', wrong {len(wrong)}')
sys.exit(1 if wrong else 0)
