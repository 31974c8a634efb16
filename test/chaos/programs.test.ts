import assert from 'node:assert/strict'
import test from 'node:test'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { LineCount } from './programs/counter.ts'
import { PROGRAMS } from './programs/index.ts'

// The programs must be right by themselves, or what they say about the tunnel means nothing.
test('each program straight to the sshd moves its bytes and says so', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const sshd = await startSshd(t)
  for (const program of PROGRAMS) {
    await t.test(program.name, { skip: requireSystem(...program.needs) }, async (t) => {
      const lateMs: number[] = []
      let enough = () => {}
      const until = new Promise<void>((resolve) => {
        enough = resolve
      })
      const result = await program.run({
        sshd,
        env: process.env,
        folder: await tempFolder(t),
        byteCount: 1_048_576,
        seed: program.name,
        gapMs: 5,
        until,
        signal: t.signal,
        arrived(sentAtMs) {
          if (lateMs.push(Date.now() - sentAtMs) === 40) enough()
        },
        session: (work) => work(),
      })
      assert.deepEqual({ ...result, byteCount: 0 }, { byteCount: 0, checksumOk: true, exitStatus: 0 })
      assert.ok(result.byteCount > 1_000)
      assert.ok(lateMs.every((ms) => ms > -10 && ms < 60_000))
    })
  }
})

test('the counter finds a line that is missing, twice, or changed', () => {
  const count = (...numbers: number[]) => {
    const lines = new LineCount('echo')
    for (const number of numbers) lines.take(lines.line(number))
    return lines.fault === undefined
  }
  assert.deepEqual([count(1, 2, 3), count(1, 3), count(1, 2, 2), count(2, 1)], [true, false, false, false])
  const changed = new LineCount('echo')
  changed.take(changed.line(1).replace('x', 'y'))
  assert.match(changed.fault ?? '', /after line 0/)
})
