import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Buckets } from '../../../plugins/state/buckets.ts'
import { EmbeddedState } from '../../../plugins/state/embedded.ts'
import type { Clock } from '../../../protocol/clock.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { stateSuite } from './suite.ts'

const MODULE = join(import.meta.dirname, '../../../dist/plugins/state/embedded.js')

async function folder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'tunnel-state-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  return dir
}

function handClock() {
  let nowMs = 1_000
  const clock: Clock = { now: () => nowMs, setTimer: () => undefined, clearTimer: () => {} }
  const advance = (ms: number) => {
    nowMs += ms
  }
  return { clock, advance }
}

stateSuite('embedded', async (t) => {
  const { clock, advance } = handClock()
  const state = await EmbeddedState.open(await folder(t), clock)
  t.after(() => state.close())
  return { state, advance }
})

test('a record that was acknowledged survives the SIGKILL of its process', async (t) => {
  const dir = await folder(t)
  const program = `
    const { EmbeddedState } = await import(${JSON.stringify(MODULE)})
    const state = await EmbeddedState.open(process.argv[1])
    await state.put('pin', 'alice/home', ['ssh-ed25519 AAAA'])
    console.log('kept')
    setInterval(() => {}, 1_000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, dir], {
    cwd: join(import.meta.dirname, '../../..'),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  assert.match(said.toString(), /kept/)

  await assert.rejects(EmbeddedState.open(dir), (error) => {
    assert.ok(error instanceof TunnelError)
    assert.equal(error.code, 'CONFIG_INVALID')
    assert.match(error.message, /another proxy uses the state folder/)
    assert.ok(error.message.includes(dir))
    return true
  })

  child.kill('SIGKILL')
  await once(child, 'exit')
  const state = await EmbeddedState.open(dir)
  t.after(() => state.close())
  assert.deepEqual(await state.get('pin', 'alice/home'), ['ssh-ed25519 AAAA'])
})

test('a folder that cannot be used is named, and the reason with it', async (t) => {
  const dir = await folder(t)
  const file = join(dir, 'file')
  await writeFile(file, '')
  await assert.rejects(EmbeddedState.open(join(file, 'below')), (error) => {
    assert.ok(error instanceof TunnelError)
    assert.equal(error.code, 'CONFIG_INVALID')
    assert.ok(error.message.includes(join(file, 'below')))
    assert.match(error.message, /ENOTDIR/)
    return true
  })
})

test('nobody else may read the records, even where the folder was open before', async (t) => {
  const dir = await folder(t)
  await chmod(dir, 0o755)
  const state = await EmbeddedState.open(dir)
  t.after(() => state.close())
  assert.deepEqual(await readdir(dir), ['db'])
  assert.equal((await stat(join(dir, 'db'))).mode & 0o077, 0)
})

test('buckets that are full again are dropped, without a timer', () => {
  const { clock, advance } = handClock()
  const buckets = new Buckets(clock)
  for (let i = 0; i < 1_000; i++) buckets.take(`u${i}`, { perMinute: 60, burst: 5 })
  assert.equal(buckets.size, 1_000)
  advance(60_000)
  for (let i = 0; i < 1_000; i++) buckets.take('one', { perMinute: 60_000, burst: 5 })
  assert.equal(buckets.size, 1)
})

test('the table of buckets never outgrows its bound, and keeps those in use', () => {
  const { clock } = handClock()
  const buckets = new Buckets(clock, 100)
  const limit = { perMinute: 1, burst: 1_000 }
  let remaining = 1_000
  for (let i = 0; i < 5_000; i++) {
    buckets.take(`attacker${i}`, limit)
    if (i % 10 === 0) {
      remaining -= 1
      assert.equal(buckets.take('kept', limit).remaining, remaining)
    }
    assert.ok(buckets.size <= 101, `${buckets.size}`)
  }
})
