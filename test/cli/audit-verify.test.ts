import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { AuditTrail } from '../../plugins/audit/trail.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnel } from './tunnel.ts'

test('tunnel audit verify says that a trail is whole, or which line is not, with the status to match', async (t) => {
  const folder = await tempFolder(t, 'verify')
  const file = join(folder, 'audit.log')
  const quiet = { failed: assert.fail, recovered: assert.fail }
  const trail = new AuditTrail(file, { maxBytes: 1_048_576, maxMs: 86_400_000, keep: 1, ...quiet })
  trail.record({ event: 'a.one' })
  trail.record({ event: 'a.two' })
  await trail.close()
  const verify = (...args: string[]) => tunnel(['audit', 'verify', ...args], { env: isolated(folder, {}) })
  const whole = await verify(file)
  assert.equal(whole.code, 0, whole.stderr)
  const [, hash = ''] =
    /3 lines in 1 file: as they were written\nthe last is of .*hash ([0-9a-f]{64})\n/.exec(whole.stdout) ?? []
  assert.equal((await verify('--head', hash, file)).code, 0)
  await writeFile(file, (await readFile(file, 'utf8')).replace('a.two', 'a.TWO'))
  const changed = await verify(file)
  assert.equal(changed.code, 1)
  assert.match(
    changed.stdout,
    /audit\.log, line 2: it was changed.*\n3 lines in 1 file: NOT as they were written/,
  )
  const missing = await verify(join(folder, 'none.log'))
  assert.equal(missing.code, 2)
  assert.match(missing.stderr, /none\.log cannot be read \(there is no such file or folder, ENOENT\)/)
  const other = await verify(folder)
  assert.equal(other.code, 2)
  assert.ok(other.stderr.includes(`${folder} cannot be read (it is a folder, EISDIR)`), other.stderr)
})
