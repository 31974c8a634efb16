import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { addressesOf } from '../../dial/addresses.ts'
import { callProxy } from '../../dial/api.ts'
import { dialProxy } from '../../dial/dial-proxy.ts'
import { STAGGER_MS } from '../../dial/staggered.ts'
import { replaceSystemClock, systemClock } from '../../protocol/clock.ts'
import type { DialOptions } from '../../protocol/link/transport.ts'
import { isolated, tunnel } from '../cli/tunnel.ts'
import { spawnProgram } from '../support/process.ts'
import { listenTcp, startProxy, until } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { tempFolder } from '../support/tree.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

/** Takes every connection and says nothing. `open` is how many of them nobody has given up, `gone` how many somebody has. */
async function startSilent(scope: Scope) {
  const silent = { url: '', open: 0, gone: 0 }
  const address = await listenTcp(scope, (socket) => {
    silent.open++
    socket.resume().once('end', () => socket.end())
    socket.once('close', () => {
      silent.open--
      silent.gone++
    })
  })
  silent.url = `http://${address}`
  return silent
}

const NEVER_ACCEPTS = `
const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  require('node:fs').writeSync(1, server.address().port + '\\n')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
})`

/** The kernel drops every SYN that comes: the queue of connections to accept is full, and nobody accepts. Linux only. */
async function startBlackHole(t: TestContext): Promise<string> {
  const program = spawnProgram(t, process.execPath, ['-e', NEVER_ACCEPTS])
  const [, port] = await program.line(/^(\d+)$/)
  // With a backlog of 1 Linux takes two.
  for (const _ of [1, 2]) {
    const socket = connect(Number(port), '127.0.0.1').on('error', () => {})
    t.after(() => socket.destroy())
    await once(socket, 'connect')
  }
  return `http://127.0.0.1:${port}`
}

/** What takes seconds otherwise. */
const clock = {
  ...systemClock,
  setTimer: (callback: () => void, ms: number) => systemClock.setTimer(callback, ms === STAGGER_MS ? 20 : ms),
}

for (const [what, start, skip] of [
  ['takes the connection and says nothing', async (t: TestContext) => (await startSilent(t)).url, false],
  ['drops every SYN', startBlackHole, process.platform !== 'linux'],
] as const)
  test(`a replica that ${what} holds up no client: the next one is dialled beside it`, {
    skip,
  }, async (t) => {
    const proxy = await startProxy(t)
    const dead = await start(t)
    const events: string[] = []
    const dial = async (url: string, options: DialOptions) => {
      const which = url.includes(new URL(dead).host) ? 'dead' : 'proxy'
      events.push(`${which} dialled`)
      try {
        return await dialProxy(url, options)
      } catch (error) {
        events.push(`${which} ${(error as { code: string }).code}`)
        throw error
      }
    }
    const told: string[] = []
    const client = proxy.client('alice', { url: [dead, proxy.url], platform: { dial, clock } })
    for (const name of ['state', 'transport', 'error'] as const)
      client.on(name, (...[value]) => told.push(`${name} ${value}`))
    await client.connect()
    await until(() => events.length >= 3)
    // It was called off because the other one had won, and not given up before that was tried.
    assert.deepEqual(events, ['dead dialled', 'proxy dialled', 'dead ABORTED'])
    assert.deepEqual(told, ['state connecting', 'state connected'])
    await assert.rejects(client.forwardRequest({ machine: 'nowhere' }), { code: 'MACHINE_UNKNOWN' })
    assert.equal(proxy.app.websocketServer.clients.size, 1)
  })

test('a question to a silent replica is asked of the next one as well, and its own is ended by the answer', async (t) => {
  const proxy = await startProxy(t)
  const silent = await startSilent(t)
  const addresses = addressesOf([silent.url, proxy.url])
  const question = { route: 'machines', token: proxy.tokenOf('alice'), timeoutMs: 600_000 }
  assert.deepEqual(await callProxy(addresses, question), [])
  // Node's fetch may open another connection for the next question; this one it has ended.
  await until(() => silent.gone > 0)
})

test('what changes something at a proxy is asked of one that is silent alone, until its time is over', async (t) => {
  const clock = new VirtualClock()
  t.after(replaceSystemClock(clock))
  for (const [method, askedThen, oneByOne] of [
    ['GET', 2],
    ['GET', 1, true],
    ['POST', 1],
    ['DELETE', 1],
  ] as const) {
    let asked = 0
    const fetch = (_url: string, init?: RequestInit) =>
      new Promise<Response>((_resolve, reject) => {
        asked++
        init?.signal?.addEventListener('abort', () => reject(init.signal?.reason), { once: true })
      })
    const order = oneByOne === undefined ? {} : { oneByOne }
    const question = { route: 'machines', method, fetch, timeoutMs: 10_000, ...order }
    const late = assert.rejects(callProxy(addressesOf(['http://one', 'http://two']), question), {
      code: 'TIMEOUT',
    })
    await clock.run(clock.now() + 9_000)
    assert.equal(asked, askedThen, method)
    await clock.run(clock.now() + 11_000)
    await late
    assert.equal(asked, 2, method)
  }
})

test('a command with the addresses of two replicas does not wait for the one that is silent', async (t) => {
  const proxy = await startProxy(t)
  const silent = await startSilent(t)
  const env = isolated(await tempFolder(t), {
    TUNNEL_URL: `${silent.url},${proxy.url}`,
    TUNNEL_TOKEN: proxy.tokenOf('alice'),
  })
  let openWhenLinked = 0
  proxy.app.websocketServer.once('connection', () => {
    openWhenLinked = silent.open
  })
  const { code, stderr } = await tunnel(['exec', 'nowhere', 'true'], { env })
  assert.match(stderr, /no machine named nowhere|nowhere/)
  assert.notEqual(code, 0)
  assert.equal(openWhenLinked, 1, 'the silent one had been given up before the other was dialled')
})
