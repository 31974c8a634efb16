import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Buckets } from '../../../plugins/state/buckets.ts'
import { EmbeddedState } from '../../../plugins/state/embedded.ts'
import { MemoryRecords } from '../../../plugins/state/memory-records.ts'
import type { Clock } from '../../../protocol/clock.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { compiledModule } from '../../support/compiled.ts'
import { stateSuite } from './suite.ts'

const MODULE = compiledModule('plugins/state/embedded.ts')

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
  const state = await EmbeddedState.open(await folder(t), clock, clock.now)
  t.after(() => state.close())
  return { state, advance }
})

test('a record ends at its time across a restart, and leaves the disk with the writes that follow', async (t) => {
  const dir = await folder(t)
  const { clock, advance } = handClock()
  const reopened = async (): Promise<EmbeddedState> => {
    const state = await EmbeddedState.open(dir, clock, clock.now)
    t.after(() => state.close())
    return state
  }
  const first = await reopened()
  for (let index = 0; index < 20; index++) await first.put('revoked', `r${index}`, index, { ttlMs: 1_000 })
  await first.put('pin', 'looks like one that ends', { $untilMs: 1, value: 'x' })
  await first.close()
  advance(999)
  const second = await reopened()
  assert.equal((await second.list('revoked')).length, 20)
  assert.deepEqual(await second.get('pin', 'looks like one that ends'), { $untilMs: 1, value: 'x' })
  advance(1)
  assert.deepEqual(await second.list('revoked'), [])
  for (let index = 0; index < 10; index++) await second.put('pin', 'home', index)
  await second.close()
  const counted = Number(await readFile(join(dir, 'db.records'), 'utf8'))
  assert.equal(counted, 2)
  assert.equal((await reopened()).loss, undefined)
})

test('a bucket goes on filling while nobody has the folder, and a clock that was set back empties none', async (t) => {
  const dir = await folder(t)
  const { clock, advance } = handClock()
  const limit = { perMinute: 60, burst: 10 }
  const reopened = async (nowMs = clock.now): Promise<EmbeddedState> => {
    const state = await EmbeddedState.open(dir, clock, nowMs)
    t.after(() => state.close())
    return state
  }
  const first = await reopened()
  await first.takeToken('user:alice', limit, 10)
  await first.keepBuckets()
  await first.close()
  advance(4_000)
  const second = await reopened()
  assert.deepEqual(await second.takeToken('user:alice', limit, 5), {
    ...{ allowed: false, remaining: 4, retryAfterMs: 1_000 },
  })
  await second.keepBuckets()
  await second.close()
  const third = await reopened(() => 0)
  assert.equal((await third.takeToken('user:alice', limit, 5)).retryAfterMs, 1_000)
})

test('the volatile records never outgrow their bound: what is over goes, and then a new one is refused', async () => {
  const { clock, advance } = handClock()
  const records = new MemoryRecords(clock.now, 100)
  for (let index = 0; index < 100; index++) await records.put('ticket', `t${index}`, index, { ttlMs: 1_000 })
  await assert.rejects(records.put('ticket', 'one more', 1, { ttlMs: 1_000 }), { code: 'STATE_UNAVAILABLE' })
  assert.equal(await records.get('ticket', 't99'), 99)
  advance(1_000)
  await records.put('ticket', 'one more', 1, { ttlMs: 1_000 })
  for (let index = 0; index < 60; index++) await records.put('ticket', 'again', 1, { ttlMs: 1_000 })
  assert.equal(records.size, 2)
  await assert.rejects(records.put('ticket', 'endless', 1), RangeError)
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

test('what is acknowledged after the disk was full is there after a restart', {
  skip: process.platform === 'linux' ? undefined : 'needs prlimit',
}, async (t) => {
  const dir = await folder(t)
  // A limit on the size of files stands for the disk: LevelDB's writes fail in the middle of a record.
  const program = `
    const { EmbeddedState } = await import(${JSON.stringify(MODULE)})
    const { execFileSync } = await import('node:child_process')
    const limit = (bytes) => execFileSync('prlimit', ['--pid', process.pid, '--fsize=' + bytes + ':'])
    const state = await EmbeddedState.open(process.argv[1])
    await state.put('pin', 'before', 'kept')
    limit(60_000)
    const big = 'x'.repeat(50_000)
    const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((key) => state.put('pin', key, big)))
    const failed = outcomes.filter(({ status }) => status === 'rejected').length
    limit('unlimited')
    for (const key of ['d', 'e', 'f']) await state.put('pin', key, big)
    console.log('failed ' + failed)
    setInterval(() => {}, 1_000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, dir], {
    cwd: join(import.meta.dirname, '../../..'),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  assert.match(said.toString(), /failed [1-3]/)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const state = await EmbeddedState.open(dir)
  t.after(() => state.close())
  const there = (await state.list('pin')).map(([key]) => key).filter((key) => !['a', 'b', 'c'].includes(key))
  assert.deepEqual(there, ['before', 'd', 'e', 'f'])
  assert.equal(state.loss, undefined)
})

test('records that are missing at the start are told, until they are back or their loss is accepted', async (t) => {
  const dir = await folder(t)
  const reopened = async (): Promise<EmbeddedState> => {
    const state = await EmbeddedState.open(dir)
    t.after(() => state.close())
    return state
  }
  const first = await reopened()
  for (const key of ['a', 'b', 'c']) await first.put('pin', key, 'there')
  await first.put('pin', 'a', 'changed')
  await first.delete('pin', 'c')
  await first.delete('pin', 'c')
  assert.equal(first.loss, undefined)
  await first.close()
  await rm(join(dir, 'db'), { recursive: true })
  const second = await reopened()
  assert.equal(second.loss?.records, 2)
  await second.put('pin', 'a', 'back')
  assert.equal(second.loss?.records, 1)
  await second.close()
  const third = await reopened()
  assert.equal(third.loss?.records, 1)
  const { file } = third.loss
  await third.put('pin', 'b', 'back')
  assert.equal(third.loss, undefined)
  await third.close()
  await rm(join(dir, 'db'), { recursive: true })
  await rm(file)
  assert.equal((await reopened()).loss, undefined)
})

test('a database that cannot be read is told with its folder, and nothing is taken from it', async (t) => {
  const dir = await folder(t)
  const state = await EmbeddedState.open(dir)
  await state.put('pin', 'a', 'there')
  await state.close()
  // A second start moves the log into a table.
  await (await EmbeddedState.open(dir)).close()
  for (const name of await readdir(join(dir, 'db'))) {
    if (name.endsWith('.ldb')) await writeFile(join(dir, 'db', name), 'garbage '.repeat(100))
  }
  await assert.rejects(EmbeddedState.open(dir), (error: unknown) => {
    return error instanceof TunnelError && error.code === 'CONFIG_INVALID' && error.message.includes(dir)
  })
})
