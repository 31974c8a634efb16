import assert from 'node:assert/strict'
import { test } from 'node:test'
import { table } from '../../cli/table.ts'

const FINGERPRINT = `SHA256:${'x'.repeat(43)}`
const ROWS = [
  ['MACHINE', 'STATE', 'SINCE', 'STREAMS', 'USER', 'SOURCE', 'HOST KEY'],
  ['home', 'on line', '3 min', '2, 1 waiting', 'somebody', 'agent', FINGERPRINT],
  ['nas', 'HOST KEY CHANGED', '-', '-', 'root', 'configured', '-'],
]

test('a table fits whatever width there is, and leaves nothing out', () => {
  for (const width of [200, 120, 80, 60, 40, 20, 10]) {
    const text = table(ROWS, width)
    for (const line of text.split('\n')) {
      assert.ok(line.length <= width, `${width}: ${line}`)
      assert.equal(line, line.trimEnd())
    }
    const packed = text.replaceAll(/\s/g, '')
    for (const cell of ROWS.flat()) assert.ok(packed.includes(cell.replaceAll(' ', '')), `${width}: ${cell}`)
  }
})

test('in a pipe each row is one line, whatever is in it', () => {
  const long = 'x'.repeat(200)
  const lines = table(
    [
      ['NAME', 'VALUE', 'FROM'],
      ['a', long, 'b'],
      ['c', 'd', 'e'],
    ],
    Number.POSITIVE_INFINITY,
  )
  assert.equal(lines, `NAME  VALUE  FROM\na     ${long}  b\nc     d      e\n`)
})

test('where there is room each row is a line, and at 80 columns a long last cell has one of its own', () => {
  const wide = table(ROWS, 120).trimEnd().split('\n')
  assert.equal(wide.length, 3)
  assert.ok(wide[1]?.endsWith(`  ${FINGERPRINT}`))
  const usual = table(ROWS, 80).split('\n')
  assert.match(usual[1]!, /^home +on line +3 min +2, 1 waiting +somebody +agent$/)
  assert.equal(usual[2], `  ${FINGERPRINT}`)
})

test('cells that are too long for their columns do not make lists of all other rows', () => {
  const rows = [
    ['SETTING', 'VALUE', 'FROM'],
    ['heartbeat.intervalMs', '30000', 'default'],
    ['state.dir', `"/home/somebody/${'x'.repeat(20)}"`, `file ${'y'.repeat(60)}`],
    ['rateLimit.tiers.free.bytesPerSecond', '0', 'default'],
  ]
  const lines = table(rows, 80).split('\n')
  assert.match(lines[0]!, /^SETTING +VALUE +FROM$/)
  assert.match(lines[1]!, /^heartbeat\.intervalMs +30000 +default$/)
  assert.equal(lines[1]?.indexOf('30000'), lines[0]?.indexOf('VALUE'))
  for (const cell of rows.flat()) assert.ok(lines.some((line) => line.includes(cell)))
})

test('a cell cannot begin a line or move the cursor', () => {
  assert.equal(table([['A'], ['x\n\u001b[2Jy']], 80), 'A\nx\ufffd\ufffd[2Jy\n')
})
