import assert from 'node:assert/strict'
import test from 'node:test'
import { EscapeReader } from '../../../cli/shell/escapes.ts'

/** What comes of `typed`, piece by piece: what is sent as text, and what is asked in brackets. */
function read(...typed: string[]): string {
  const reader = new EscapeReader()
  return typed
    .flatMap((piece) => reader.take(Buffer.from(piece)))
    .map((part) => (typeof part === 'string' ? `[${part}]` : part.toString()))
    .join('')
}

test('an escape stands after a newline, and nowhere else', () => {
  assert.equal(read('~.'), '[close]')
  assert.equal(read('ls\r~.'), 'ls\r[close]')
  assert.equal(read('ls\n~?~.'), 'ls\n[help][close]')
  assert.equal(read('ls\r', '~', '\u001a', 'fg'), 'ls\r[suspend]fg')
  assert.equal(read('cd ~/a\r'), 'cd ~/a\r')
  assert.equal(read('a~.\r'), 'a~.\r')
})

test('two tildes are one, and a tilde before any other key is itself', () => {
  assert.equal(read('~~'), '~')
  assert.equal(read('~~.'), '~.')
  assert.equal(read('\r~', '/x\r'), '\r~/x\r')
  assert.equal(read('~\r~.'), '~\r[close]')
  assert.equal(read('~ü'), '~ü')
  assert.equal(read('~'), '')
})
