// Writes what follows from something else, or with --check names what is not as it would be written:
// - prometheus/slo.rules.yaml, from the table in prometheus/slos.mjs
// - prometheus/prometheusrule.yaml, all rules for Prometheus' operator
// - grafana/dashboards/*.json, from grafana/dashboards.mjs
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { dashboards } from './grafana/dashboards.mjs'
import { sloGroups } from './prometheus/slos.mjs'

const here = import.meta.dirname
const MADE = '# Made by `node deploy/make.mjs`: do not change it here.\n'
const asYaml = (value) => MADE + stringify(value, { lineWidth: 0, aliasDuplicateObjects: false })

function prometheusRule() {
  const { groups } = parse(readFileSync(join(here, 'prometheus/tunnel.rules.yaml'), 'utf8'))
  return {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'tunnel' },
    spec: { groups: [...groups, ...sloGroups()] },
  }
}

/** Path → content. */
export const made = {
  'prometheus/slo.rules.yaml': asYaml({ groups: sloGroups() }),
  'prometheus/prometheusrule.yaml': asYaml(prometheusRule()),
  ...Object.fromEntries(
    dashboards().map((dashboard) => [
      `grafana/dashboards/${dashboard.uid}.json`,
      `${JSON.stringify(dashboard, null, 2)}\n`,
    ]),
  ),
}

function isMade([path, content]) {
  try {
    return readFileSync(join(here, path), 'utf8') === content
  } catch {
    return false
  }
}

const stale = Object.entries(made).filter((file) => !isMade(file))
if (!process.argv.includes('--check')) {
  for (const [path, content] of stale) writeFileSync(join(here, path), content)
} else if (stale.length > 0) {
  console.error(
    `run node deploy/make.mjs, for these are out of date: ${stale.map(([path]) => path).join(', ')}`,
  )
  process.exitCode = 1
}
