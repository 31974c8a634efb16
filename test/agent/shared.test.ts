import assert from 'node:assert/strict'
import { once } from 'node:events'
import test from 'node:test'
import { UserBudgets } from '../../agent/user-budgets.ts'
import type { TunnelService } from '../../client/index.ts'
import { drop, listenTcp, startProxy } from '../support/proxy.ts'

test('whoever a machine is shared with cannot use up what its agent has for others', async (t) => {
  const rules = [{ effect: 'allow', users: ['bob*'], owners: ['alice'], machines: ['home'], targets: ['*'] }]
  const proxy = await startProxy(t, { set: [`policy.rules=${JSON.stringify(rules)}`] })
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  const links = await Promise.all(['bob', 'bob', 'bob2', 'bob3', 'bob4'].map((user) => proxy.connect(user)))
  const open = (tunnel: TunnelService) => tunnel.open({ machine: 'home', kind: 'ssh', target: echo })
  const answers: PromiseSettledResult<Awaited<ReturnType<typeof open>>>[] = []
  // A few at a time: all of this is one process, and a busy computer takes longer for all than one of them may wait.
  for (let round = 0; round < 50; round++)
    answers.push(
      ...(await Promise.allSettled(links.flatMap((tunnel) => [1, 2, 3, 4, 5].map(() => open(tunnel))))),
    )
  const opened = answers.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  for (const each of answers)
    if (each.status === 'rejected') assert.equal(each.reason.code, 'TOO_MANY_STREAMS')
  // More than the agent had for everybody together, and less than they asked for.
  assert.ok(opened.length > 256 && opened.length < answers.length, `${opened.length}`)

  const alice = await proxy.connect('alice')
  const stream = await alice.open({ machine: 'home', kind: 'ssh', target: echo })
  stream.write('mine')
  assert.equal(String((await once(stream, 'data'))[0]), 'mine')
  for (const each of [...opened, stream]) drop(each)
})

test('each user of an agent has a budget, and many share what is there for four', () => {
  const settings = { userBudgetBytes: 1_000, windowBytes: 10 }
  const budgets = new UserBudgets(settings)
  assert.ok(['a', 'b', 'c', 'd'].every((user) => budgets.of(user).take(1_000)))
  assert.equal(budgets.of('a').take(1), false)
  const late = budgets.of('e')
  assert.deepEqual([late.take(801), late.take(800), budgets.size], [false, true, 5])
  for (const user of ['a', 'b', 'c', 'd']) budgets.of(user).give(1_000)
  assert.equal(budgets.of('e'), late)
  assert.deepEqual([late.totalBytes, budgets.size], [1_000, 1])
  // However many there are, each can have something.
  const crowd = Array.from({ length: 1_000 }, (_, index) => budgets.of(`user-${index}`).take(40))
  assert.ok(crowd.every(Boolean))
})

test('the SSH server is dialled for each user apart, however its address was given and is asked for', {
  skip: process.platform === 'linux' ? undefined : 'only Linux has all of 127.0.0.0/8 on loopback',
}, async (t) => {
  const sources: (string | undefined)[] = []
  const server = await listenTcp(t, (socket) => {
    sources.push(socket.remoteAddress)
    socket.write('SSH-2.0-test\r\n')
  })
  const port = server.split(':')[1]
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', `127.1:${port}`)
  const alice = await proxy.connect('alice')
  // From where the agent asks for the host key: again when somebody has heard a server that showed none.
  const own = sources.splice(0)[0]
  for (const target of [undefined, `127.0.0.1:${port}`, `0x7f000001:${port}`])
    drop(await alice.open({ machine: 'home', kind: 'ssh', ...(target !== undefined && { target }) }))
  const users = sources.filter((source) => source !== own)
  const [first] = users
  assert.deepEqual(users, [first, first, first])
  assert.notEqual(first, '127.0.0.1')
})
