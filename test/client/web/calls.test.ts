import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ForwardResponse } from '../../../client/forward-response.ts'
import type { RequestKeeper } from '../../../client/queue/keeper.ts'
import { Calls } from '../../../client/web/calls.ts'
import { Desk } from '../../../client/web/desk.ts'
import { systemClock } from '../../../protocol/clock.ts'
import { storedRequest } from '../queue/requests.ts'

test('a tab that gives the same key to several requests has an answer to each, at once and later', async (t) => {
  const queue = crypto.randomUUID()
  const paths: string[] = []
  const keeper: RequestKeeper = {
    on: () => () => {},
    start: async () => {},
    async send({ path }) {
      paths.push(path)
      return new ForwardResponse({ status: 200, statusText: 'OK', headers: [] }, Buffer.from(path))
    },
    keep: async () => {},
    close: async () => {},
  }
  const desk = new Desk(keeper, systemClock, queue)
  const calls = new Calls(queue, 10)
  t.after(() => {
    desk.close()
    calls.close(new Error('the test is over') as never)
  })
  desk.open()
  const send = async (path: string) => {
    const request = storedRequest({ id: 'order 1', path })
    return (await calls.send(request, { headers: [], signal: undefined, onAccepted: undefined })).text()
  }
  assert.deepEqual(await Promise.all([send('/a'), send('/b')]), ['/a', '/b'])
  assert.equal(await send('/c'), '/c')
  assert.deepEqual(paths, ['/a', '/b', '/c'])
})
