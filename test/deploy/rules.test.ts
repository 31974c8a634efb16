import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { ERROR_KINDS } from '../../protocol/codec/errors.ts'
import { mustRun, run } from '../support/process.ts'
import { requireSystem } from '../support/system.ts'

const deploy = new URL('../../deploy/', import.meta.url)
const pathOf = (name: string) => fileURLToPath(new URL(name, deploy))
const read = (name: string) => readFileSync(new URL(name, deploy), 'utf8')

interface Rule {
  alert?: string
  expr: string
  labels?: Record<string, string>
  annotations?: { runbook: string }
}
interface RuleTest {
  alert_rule_test: {
    alertname: string
    exp_alerts: { exp_labels: Record<string, string> }[]
  }[]
}

const FILES = ['tunnel', 'slo'] as const
const rulesOf = (file: string) =>
  (parse(read(`prometheus/${file}.rules.yaml`)) as { groups: { rules: Rule[] }[] }).groups.flatMap(
    ({ rules }) => rules,
  )
const rules = FILES.flatMap(rulesOf)

test('what is made of something else is as it would be made now', async () => {
  await mustRun(process.execPath, [pathOf('make.mjs'), '--check'])
})

test('every rule is one that Prometheus takes, and every alert fires when it should and not when it should not', {
  skip: requireSystem('promtool'),
}, async () => {
  const files = FILES.map((file) => pathOf(`prometheus/${file}.rules.yaml`))
  await mustRun('promtool', ['check', 'rules', '--lint=all', '--lint-fatal', ...files])
  await mustRun('promtool', ['check', 'config', '--syntax-only', pathOf('prometheus/prometheus.yml')])
  const tests = FILES.map((file) => pathOf(`prometheus/tests/${file}.test.yaml`))
  const { code, stdout, stderr } = await run('promtool', ['test', 'rules', ...tests])
  assert.equal(code, 0, `${stdout}${stderr}`)
})

test('no alert is without a case that fires and one that does not', () => {
  const name = (alert: string | undefined, { severity, window = '' }: Record<string, string> = {}) =>
    `${alert} ${severity} ${window}`.trim()
  const fires = new Set<string>()
  const quiet = new Set<string>()
  const alerts = rules.filter(({ alert }) => alert !== undefined)
  for (const file of FILES) {
    const { tests } = parse(read(`prometheus/tests/${file}.test.yaml`)) as { tests: RuleTest[] }
    for (const { alertname, exp_alerts } of tests.flatMap((one) => one.alert_rule_test)) {
      const firing = new Set(exp_alerts.map(({ exp_labels }) => name(alertname, exp_labels)))
      for (const { alert, labels } of alerts) {
        if (alert !== alertname) continue
        const set = firing.has(name(alert, labels)) ? fires : quiet
        set.add(name(alert, labels))
      }
    }
  }
  const all = alerts.map(({ alert, labels }) => name(alert, labels)).sort()
  assert.equal(new Set(all).size, all.length)
  assert.deepEqual([...fires].sort(), all)
  assert.deepEqual([...quiet].sort(), all)
})

test('docs/OPERATIONS.md says what to do about each alert, under its name', () => {
  const text = readFileSync(new URL('../docs/OPERATIONS.md', deploy), 'utf8')
  const headings = [...text.matchAll(/^### (Tunnel\w+)$/gm)].map(([, heading = '']) => heading)
  const alerts = new Set(rules.flatMap(({ alert }) => alert ?? []))
  assert.deepEqual(headings.sort(), [...alerts].sort())
  for (const { alert, annotations } of rules) {
    if (alert === undefined) continue
    assert.equal(annotations?.runbook, `docs/OPERATIONS.md#${alert.toLowerCase()}`)
  }
})

test('every code that a rule names is an error code', () => {
  const patterns = rules.flatMap(({ expr }) =>
    [...expr.matchAll(/(?:outcome|code)(?:=|!=|=~|!~)"([^"]+)"/g)].flatMap(([, codes = '']) =>
      codes.split('|'),
    ),
  )
  assert.ok(patterns.length > 50)
  const known = ['ok', ...Object.keys(ERROR_KINDS)]
  for (const pattern of new Set(patterns))
    assert.ok(
      known.some((code) => new RegExp(`^(?:${pattern})$`).test(code)),
      pattern,
    )
})

test('docs/OPERATIONS.md says of every error code what to look at, and of no other', () => {
  const text = readFileSync(new URL('../docs/OPERATIONS.md', deploy), 'utf8')
  const [, section = ''] = /^## By error code\n([\s\S]*?)^## /m.exec(text) ?? []
  const codes = [...section.matchAll(/^\| `([A-Z_]+)` \| .+ \|$/gm)].map(([, code = '']) => code)
  assert.deepEqual(codes.sort(), Object.keys(ERROR_KINDS).sort())
})
