import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { STATUS } from '../../cli/commands/diagnose.ts'
import type { DiagnosticReport } from '../../client/index.ts'
import { startProxy } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnel } from './tunnel.ts'

test('`tunnel diagnose` marks each hop, in signs that the terminal has, and ends with the status of the first that fails', async (t) => {
  const proxy = await startProxy(t)
  const dir = await tempFolder(t)
  const env = isolated(dir, {
    TUNNEL_URL: proxy.url,
    TUNNEL_TOKEN: proxy.tokenOf('alice'),
    LC_ALL: 'C.UTF-8',
  })

  const good = await tunnel(['diagnose'], { env })
  assert.equal(good.code, 0, good.stdout + good.stderr)
  assert.match(good.stdout, /^– dns +the address is no name$/m)
  assert.match(good.stdout, /^✓ tcp +127\.0\.0\.1, port \d+ \(.+ ms\)$/m)
  assert.match(good.stdout, /\n\nThe way to the proxy is good\.\n$/)

  const bad = await tunnel(['diagnose', 'home'], { env: { ...env, LC_ALL: 'C' } })
  assert.equal(bad.code, 21)
  assert.match(bad.stdout, /^ok {5}hello /m)
  assert.match(
    bad.stdout,
    /^FAILED agent +there is no machine "home" .*\(MACHINE_UNKNOWN\).*\n +start `tunnel agent/m,
  )
  assert.match(bad.stdout, /The first hop that fails: agent \(agent\)\.\n$/)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: nothing else may be there.
  assert.match(bad.stdout, /^[\x00-\x7f]*$/)

  const json = await tunnel(['diagnose', '--json', '--token', 'a.b.c'], { env })
  const report = JSON.parse(json.stdout) as DiagnosticReport & { exitStatus: number }
  assert.deepEqual([json.code, report.exitStatus, report.firstFailure?.name], [16, 16, 'authentication'])
  assert.equal(report.steps.find(({ name }) => name === 'upgrade')?.status, 'ok')

  const wrong = await tunnel(['diagnose', 'no name'], { env })
  assert.deepEqual([wrong.code, wrong.stdout], [2, ''])
})

test('docs/CONFIGURATION.md has the status of each hop', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/CONFIGURATION.md'), 'utf8')
  for (const [name, status] of Object.entries(STATUS)) assert.ok(text.includes(`${status} \`${name}\``), name)
})
