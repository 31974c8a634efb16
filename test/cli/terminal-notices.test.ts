import assert from 'node:assert/strict'
import test from 'node:test'
import { isForegroundStat, Notices } from '../../cli/terminal.ts'

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
