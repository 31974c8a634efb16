import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { CallerBody } from '../../../plugins/gateway/caller-body.ts'
import { FREE_PIECES, type Hold, PieceTurns } from '../../../plugins/gateway/piece-turns.ts'

function bodyOf(hold: Hold): { source: Readable; told: string[]; body: CallerBody } {
  const source = new Readable({ read() {} })
  const told: string[] = []
  const handlers = { data: (bytes: Buffer) => told.push(String(bytes)), ended: () => told.push('end') }
  const body = new CallerBody(source, hold, handlers)
  body.read()
  return { source, told, body }
}
const never: Hold = () => assert.fail('it was held')

test('small pieces of a body that come together are told together, in their order', async () => {
  const { source, told } = bodyOf(never)
  await turn()
  const large = 'x'.repeat(64)
  for (const piece of ['a', 'b', 'c', large, 'd', 'e']) source.push(piece)
  await turn()
  assert.deepEqual(told.splice(0), ['a', 'bc', large, 'de'])
  for (const piece of ['f', 'g', 'h']) source.push(piece)
  source.push(null)
  await once(source, 'end')
  assert.deepEqual(told, ['f', 'gh', 'end'])
})

test('a body of which too many small pieces come at once is not read until its turn, whatever else lets it go on', async () => {
  const held: [pieces: number, goOn: () => void][] = []
  const { source, told, body } = bodyOf((...hold) => held.push(hold))
  await turn()
  for (let count = 0; count < FREE_PIECES; count++) source.push('x')
  await turn()
  assert.deepEqual([held.length, source.isPaused()], [0, false])
  for (let count = 0; count < FREE_PIECES + 1; count++) source.push('x')
  await turn()
  body.consumed(2 * FREE_PIECES + 1)
  assert.deepEqual([held[0]?.[0], source.isPaused()], [FREE_PIECES + 1, true])
  assert.equal(told.join('').length, 2 * FREE_PIECES + 1)
  held[0]?.[1]()
  assert.equal(source.isPaused(), false)
})

test('what is dropped of a body is held to the same turns', async () => {
  const held: (() => void)[] = []
  const { source, told, body } = bodyOf((_pieces, goOn) => held.push(goOn))
  await turn()
  body.drop()
  for (let count = 0; count < FREE_PIECES + 1; count++) source.push('x')
  await turn()
  assert.deepEqual([held.length, source.isPaused(), told.length], [1, true, 0])
  held[0]?.()
  assert.equal(source.isPaused(), false)
})

test('of one user the bodies in small pieces go on one after the other, and those of another user do not wait for them', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const turns = new PieceTurns()
  const wentOn: string[] = []
  const hold = (user: string, name: string) => turns.hold(user, FREE_PIECES + 10_000, () => wentOn.push(name))
  hold('alice', 'alice 1')
  hold('alice', 'alice 2')
  hold('bob', 'bob')
  t.mock.timers.tick(299)
  assert.deepEqual(wentOn, [])
  t.mock.timers.tick(1)
  assert.deepEqual(wentOn.splice(0), ['alice 1', 'bob'])
  t.mock.timers.tick(300)
  assert.deepEqual(wentOn.splice(0), ['alice 2'])
  hold('alice', 'alice 3')
  t.mock.timers.tick(300)
  assert.deepEqual(wentOn, ['alice 3'])
})
