import assert from 'node:assert/strict'
import test from 'node:test'
import { narrate } from '../../cli/narrate.ts'
import { paint } from '../../cli/output.ts'
import { isForegroundStat, Notices } from '../../cli/terminal.ts'
import { clientOf, startProxy } from '../client/proxy.ts'

function fake(state: { foreground: boolean; raw: boolean }) {
  const written: string[] = []
  return {
    written,
    isForeground: () => state.foreground,
    isRaw: () => state.raw,
    write: (text: string) => void written.push(text),
  }
}

test('a program in the foreground is told from one in the background by its group', () => {
  assert.equal(isForegroundStat('12 (node (x) y) S 1 40 40 34816 40 4194304 0'), true)
  assert.equal(isForegroundStat('12 (node) S 1 40 40 34816 77 4194304 0'), false)
  assert.equal(isForegroundStat(''), undefined)
})

test('colours are for a terminal that has them and is not told to do without', () => {
  const terminal = { isTTY: true }
  const colours = (stream: { isTTY: boolean }, env: NodeJS.ProcessEnv) => paint(stream, env).red('x')
  assert.equal(colours(terminal, { TERM: 'xterm' }), '\u001b[31mx\u001b[39m')
  assert.equal(colours({ isTTY: false }, { TERM: 'xterm' }), 'x')
  assert.equal(colours(terminal, { TERM: 'dumb' }), 'x')
  assert.equal(colours(terminal, { TERM: 'xterm', NO_COLOR: '1' }), 'x')
})

test('on a plain terminal what becomes of a link is told in lines', () => {
  const terminal = fake({ foreground: true, raw: false })
  const notices = new Notices(terminal, 'xterm')
  notices.say('gone')
  notices.over()
  assert.deepEqual(terminal.written, ['\r\ntunnel: gone\r\n'])
})

test('while a program on the machine has the screen the title alone tells, and is put back', () => {
  const terminal = fake({ foreground: true, raw: true })
  const notices = new Notices(terminal, 'xterm')
  notices.say('gone')
  notices.say('back')
  notices.over()
  notices.over()
  assert.deepEqual(terminal.written, [
    '\u001b[22;2t\u001b]2;tunnel: gone\u0007',
    '\u001b]2;tunnel: back\u0007',
    '\u001b[23;2t',
  ])
})

test('at the end of an outage one line says how long it was, and how much was sent again', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => stream.accept() })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  const lines: string[] = []
  const over = new Promise<void>((resolve) => {
    narrate(tunnel, stream, 'home', { say: (line) => void lines.push(line), over: resolve })
  })
  // Read by nobody before the cut.
  proxy.pause()
  stream.write(Buffer.alloc(30_000))
  await new Promise(setImmediate)
  proxy.cut()
  await over
  assert.equal(lines[0], 'home: link lost, resuming… (Enter ~ . gives up)')
  assert.match(lines.at(-1) ?? '', /^home: resumed after \d+\.\d s, nothing lost \(30\.0 kB sent again\)$/)
})

test('in the background, and where a title would be text, nothing is written', () => {
  for (const [state, type] of [
    [{ foreground: false, raw: false }, 'xterm'],
    [{ foreground: false, raw: true }, 'xterm'],
    [{ foreground: true, raw: true }, 'dumb'],
  ] as const) {
    const terminal = fake(state)
    const notices = new Notices(terminal, type)
    notices.say('gone')
    notices.over()
    assert.deepEqual(terminal.written, [])
  }
})
