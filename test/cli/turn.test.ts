import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inTurn } from '../../cli/turn.ts'
import { compiledModule } from '../support/compiled.ts'
import { run } from '../support/process.ts'
import { tempFolder } from '../support/tree.ts'

/** Adds one to a number in a file, again and again, and is killed in its last turn. */
const COUNTER = `
import { readFileSync, writeFileSync } from 'node:fs'
import { inTurn } from ${JSON.stringify(compiledModule('cli/turn.ts'))}
const [file, turns] = process.argv.slice(1)
for (let left = Number(turns); left > 0; ) {
  const taken = inTurn(file + '.lock', () => {
    writeFileSync(file, String(Number(readFileSync(file, 'utf8')) + 1))
    if (left === 1) process.kill(process.pid, 'SIGKILL')
    return true
  })
  if (taken) left--
}
`

test('each of several processes has its turn alone, also where some are killed in theirs', async (t) => {
  const folder = await tempFolder(t)
  const file = join(folder, 'number')
  writeFileSync(file, '0')
  const words = ['--input-type=module', '-e', COUNTER, file]
  const counters = Array.from({ length: 6 }, () => run(process.execPath, [...words, '40']))
  for (const { signal, stderr } of await Promise.all(counters)) assert.equal(signal, 'SIGKILL', stderr)
  assert.equal(readFileSync(file, 'utf8'), '240')
  // The last of them left its mark, which stops nobody.
  while (inTurn(`${file}.lock`, () => true) !== true);
  assert.deepEqual(readdirSync(folder), ['number'])
})

test('a turn of a living process is waited for, and one that is an hour old is not', async (t) => {
  const lock = join(await tempFolder(t), 'lock')
  const leave = (name: string): string => {
    mkdirSync(lock)
    writeFileSync(join(lock, name), '')
    return join(lock, name)
  }
  for (const mark of [`${process.ppid}.00.${hostname()}`, `${process.pid}.00.elsewhere`]) {
    const path = leave(mark)
    assert.equal(
      inTurn(lock, () => true),
      undefined,
    )
    assert.deepEqual(readdirSync(lock), [mark])
    const anHourAgo = Date.now() / 1_000 - 3_600
    utimesSync(path, anHourAgo, anHourAgo)
    assert.equal(
      inTurn(lock, () => true),
      undefined,
    )
    assert.equal(
      inTurn(lock, () => true),
      true,
    )
  }
})
