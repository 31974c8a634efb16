import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { PassThrough, Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { commandLine } from '../../client/exec.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { requireSystem } from '../support/system.ts'
import { clientOf, collect, deferred, startProxy } from './proxy.ts'

async function connected(t: TestContext, onStream: (stream: TunnelStream) => void) {
  const proxy = await startProxy(t, { onStream })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  return tunnel
}

const WORDS = [
  'a b',
  "it's",
  '$HOME',
  '`x`',
  '',
  '*',
  '-n',
  '"',
  'a\\',
  '\\',
  "\\'",
  'a!b',
  '!!',
  '#',
  '~',
  '=ls',
  '%self',
  '{a,b}',
]

for (const shell of ['sh', 'bash', 'zsh', 'fish', 'csh', 'tcsh']) {
  test(`words reach ${shell} as they are`, { skip: requireSystem(shell) }, () => {
    // csh has no word with a line break in it.
    const words = shell.endsWith('csh') ? WORDS : [...WORDS, 'ü\nz']
    const show = 'process.stdout.write(JSON.stringify(process.argv.slice(1)))'
    const line = commandLine([process.execPath, '-e', show, '--', ...words, 'last'])
    assert.deepEqual(JSON.parse(String(execFileSync(shell, ['-c', line]))), [...words, 'last'])
  })
}

test('a backslash, a quote and a history mark stand outside of quotes, as all shells read them there', () => {
  assert.equal(commandLine(['a b\\', "it's", 'a!b c']), "'a b'\\\\ 'it'\\''s' 'a'\\!'b c'")
  assert.equal(commandLine('a | b'), 'a | b')
})

test('a command keeps its outputs apart, gets its input, and passes on its status', async (t) => {
  const tunnel = await connected(t, async (stream) => {
    stream.accept()
    const input = String(await collect(stream))
    stream.write(Buffer.from(`out ${stream.head.exec!.command} ${input}`))
    stream.writeAux(Buffer.from('err'))
    stream.event({ exit: { code: 3 } })
    stream.end()
  })
  const result = await tunnel.exec('home', ['cat', '-'], { stdin: 'input' })
  assert.deepEqual([String(result.stdout), String(result.stderr)], ['out cat - input', 'err'])
  assert.deepEqual([result.exitCode, result.signal], [3, null])
})

test('a command that a signal ended says which', async (t) => {
  const tunnel = await connected(t, (stream) => {
    stream.accept()
    stream.event({ exit: { signal: 'KILL' } })
    stream.end()
  })
  const { exitCode, signal } = await tunnel.exec('home', 'x')
  assert.deepEqual([exitCode, signal], [null, 'KILL'])
})

test('output goes to a stream at its pace, and is all there when the result is', async (t) => {
  let written = 0
  const stalled = deferred<void>()
  const tunnel = await connected(t, (stream) => {
    stream.accept()
    if (stream.head.exec?.command !== 'yes') {
      stream.event({ exit: { code: 0 } })
      return stream.end()
    }
    const fill = () => {
      while (written < 10_000_000) {
        written += 50_000
        if (!stream.write(Buffer.alloc(50_000, 7))) return stalled.resolve()
      }
      stream.event({ exit: { code: 0 } })
      stream.end()
    }
    stream.handle({ drained: fill })
    fill()
  })
  let taken = 0
  let go: () => void = () => {}
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  const slow = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      taken += chunk.length
      void gate.then(() => done())
    },
  })
  const result = tunnel.exec('home', 'yes', { stdout: slow })
  await stalled.promise
  // Meanwhile another command is not held up.
  assert.equal((await tunnel.exec('home', 'true')).exitCode, 0)
  assert.ok(written < 1_000_000, `${written} bytes were written`)
  go()
  assert.equal((await result).exitCode, 0)
  assert.equal(taken, 10_000_000)
})

test('an output stream that breaks ends the command', async (t) => {
  const over = deferred<TunnelError | undefined>()
  const tunnel = await connected(t, (stream) => {
    stream.accept()
    stream.handle({ closed: over.resolve })
    stream.write(Buffer.from('x'))
  })
  const broken = new PassThrough()
  broken.on('error', () => {})
  broken.destroy(new Error('EPIPE'))
  await assert.rejects(tunnel.exec('home', 'x', { stdout: broken }), { code: 'ABORTED' })
  assert.equal((await over.promise)?.code, 'ABORTED')
})

test('more output than fits in memory, an abort, and a lost path are errors', async (t) => {
  const tunnel = await connected(t, (stream) => {
    stream.accept()
    const { command } = stream.head.exec!
    if (command === 'much') stream.write(Buffer.alloc(2_000))
    if (command === 'lost') stream.reset(new TunnelError('RESUME_EXPIRED', 'gone', { hop: 'client' }))
  })
  await assert.rejects(tunnel.exec('home', 'much', { maxBufferBytes: 1_000 }), { code: 'ABORTED' })
  await assert.rejects(tunnel.exec('home', 'lost'), { code: 'OUTCOME_UNKNOWN' })
  const abort = new AbortController()
  const sleeping = tunnel.exec('home', 'sleep', { signal: abort.signal })
  setImmediate(() => abort.abort())
  await assert.rejects(sleeping, { code: 'ABORTED' })
})
