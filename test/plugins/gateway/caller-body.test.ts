import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { CallerBody } from '../../../plugins/gateway/caller-body.ts'

function bodyOf(): { source: Readable; told: string[] } {
  const source = new Readable({ read() {} })
  const told: string[] = []
  const handlers = { data: (bytes: Buffer) => told.push(String(bytes)), ended: () => told.push('end') }
  new CallerBody(source, handlers).read()
  return { source, told }
}

test('small pieces of a body that come together are told together, in their order', async () => {
  const { source, told } = bodyOf()
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
