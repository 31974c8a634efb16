import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadSettings } from '../../config/index.ts'
import auditToLog from '../../examples/audit-to-log.ts'
import { buildServer } from '../../server.ts'
import { tempFolder } from '../support/tree.ts'

test('the example sink takes the place of the built-in audit trail', async (t) => {
  const stateDir = join(await tempFolder(t, 'sink'), 'state')
  const { settings } = loadSettings({ stateDir, env: {} })
  const lines: string[] = []
  const logStream = { write: (line: string) => void lines.push(line) }
  const app = await buildServer({ settings, plugins: [auditToLog], logStream })
  t.after(() => app.close())
  assert.equal((await app.inject('/api/tunnel/machines')).statusCode, 401)
  const told = lines.filter((line) => line.includes('"audit":"auth.refused"'))
  assert.equal(told.length, 1)
  assert.match(told[0] ?? '', /"code":"TOKEN_MISSING"/)
  assert.equal(existsSync(join(stateDir, 'audit.log')), false)
})
