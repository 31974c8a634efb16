import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { fileSink, LogOutput, streamSink } from '../../../plugins/logging/output.ts'
import { compiledModule } from '../../support/compiled.ts'

/** Root alone may mount one. */
const noSmallDisk = process.getuid?.() !== 0 && 'a small disk can be mounted by root alone'

function smallDisk(t: TestContext): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'tunnel-small-disk-'))
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder])
  t.after(() => {
    if (status === 0) spawnSync('umount', ['-l', folder])
    rmdirSync(folder)
  })
  return status === 0 ? folder : undefined
}

test('a full disk costs lines, which are counted, and told as soon as there is room', {
  skip: noSmallDisk,
}, (t) => {
  const disk = smallDisk(t)
  if (disk === undefined) return t.skip('a tmpfs cannot be mounted here')
  const [log, ballast] = [join(disk, 'log'), join(disk, 'ballast')]
  writeFileSync(ballast, Buffer.alloc(60 * 1_024))
  const output = new LogOutput(fileSink(openSync(log, 'a')))
  const line = (number: number) => `${JSON.stringify({ number, filler: 'x'.repeat(900) })}\n`
  for (let number = 0; number < 100; number++) output.write(line(number))
  assert.match(output.problem ?? '', /ENOSPC/)

  rmSync(ballast)
  output.write(line(100))
  assert.equal(output.problem, undefined)
  // What was torn has a line of its own.
  const whole = readFileSync(log, 'utf8').trim().split('\n').flatMap(parsed)
  const told = whole.find(({ message }) => message === 'lines of the log were lost')
  const written = whole.flatMap(({ number }) => number ?? [])
  assert.equal(written.at(-1), 100)
  assert.equal(told?.context?.lines, 101 - written.length)
})

interface Line {
  number?: number
  message?: string
  context?: { lines: number }
}

function parsed(text: string): Line[] {
  try {
    return [JSON.parse(text) as Line]
  } catch {
    return []
  }
}

test('of what a slow reader does not take so much waits and no more, and it is told what it missed', async () => {
  const taken: string[] = []
  const held: (() => void)[] = []
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      taken.push(chunk)
      held.push(done)
    },
  })
  const output = new LogOutput(streamSink(stream, 1_000))
  for (let number = 0; number < 50; number++) output.write(`${String(number).padEnd(99)}\n`)
  assert.ok(stream.writableLength <= 1_000)
  assert.match(output.problem ?? '', /does not keep up/)
  const letOn = async () => {
    while (held.length > 0) {
      held.shift()?.()
      await new Promise(setImmediate)
    }
  }
  await letOn()
  assert.equal(output.problem, undefined)
  output.write('after\n')
  await letOn()
  assert.equal(taken.filter((line) => line.includes('"lines":40')).length, 1, taken.join(''))
  assert.equal(taken.at(-1), 'after\n')
  // It is told once.
  output.write('later\n')
  await letOn()
  assert.equal(taken.at(-1), 'later\n')
  assert.equal(taken.filter((line) => line.includes('were lost')).length, 1)
})

test('a reader that has gone is no error of whoever logs', async () => {
  const gone = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })
  const stream = new Writable({
    autoDestroy: false,
    write: (_chunk, _encoding, done) => done(gone),
  })
  const output = new LogOutput(streamSink(stream))
  for (let number = 0; number < 10; number++) {
    output.write(`${number}\n`)
    await new Promise(setImmediate)
  }
  assert.match(output.problem ?? '', /EPIPE|DESTROYED/)
})

test('lines of which one turn of the event loop brings many are written together at its end, in their order', async () => {
  const writes: string[][] = []
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      writes.push([chunk])
      done()
    },
    writev(chunks, done) {
      writes.push(chunks.map(({ chunk }) => chunk as string))
      done()
    },
  })
  const output = new LogOutput(streamSink(stream))
  const lines = Array.from({ length: 100 }, (_, number) => `${number}\n`)
  for (const line of lines) output.write(line)
  const atOnce = writes.length
  await new Promise(setImmediate)
  assert.deepEqual(writes.flat(), lines)
  assert.ok(atOnce > 0 && writes.length === atOnce + 1, `${writes.length} writes, ${atOnce} of them at once`)
  output.write('later\n')
  assert.deepEqual(writes.at(-1), ['later\n'])
})

test('a program that ends in the middle of many lines has written them', () => {
  const program = `
    const { logToStdout } = await import(${JSON.stringify(compiledModule('plugins/logging/output.ts'))})
    const log = logToStdout()
    for (let number = 0; number < 100; number++) log.write(number + '\\n')
    process.exit()`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(stdout, Array.from({ length: 100 }, (_, number) => `${number}\n`).join(''))
})
