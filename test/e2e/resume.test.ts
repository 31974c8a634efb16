import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Duplex, PassThrough, Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import test, { type TestContext } from 'node:test'
import { TunnelError, type TunnelService } from '../../client/index.ts'
import { isolated, startTunnel } from '../cli/tunnel.ts'
import type { Program } from '../support/process.ts'
import { listenTcp, startProxy, type TestProxy, until } from '../support/proxy.ts'
import { seededChunks, seededSha256 } from '../support/random.ts'
import { requireSystem, type Sshd, startSshd } from '../support/sshd.ts'

const skip = requireSystem('sshd')
const MIB = 1_048_576
const BYTES = 6 * MIB
/** Half of the window in which streams usually may resume: on a busy computer that is soon. */
const SOON_MS = 60_000
/** What is cut, each time after so many bytes have arrived. */
const CUTS: ('client' | 'agent')[][] = [['client'], ['agent'], ['client', 'agent'], ['agent'], ['client']]

async function echoService(t: TestContext): Promise<string> {
  return listenTcp(t, (socket) => socket.pipe(socket))
}

/** Cuts links while `source` is read; answers with the checksum of all that it brought. */
async function readUnderCuts(proxy: TestProxy, source: Readable, byteCount: number): Promise<string> {
  const hash = createHash('sha256')
  const cuts = [...CUTS]
  const step = byteCount / (cuts.length + 1)
  let bytes = 0
  let nextCut = step
  for await (const chunk of source as AsyncIterable<Buffer>) {
    hash.update(chunk)
    bytes += chunk.length
    if (bytes < nextCut) continue
    nextCut += step
    proxy.cut(...(cuts.shift() ?? []))
  }
  assert.equal(bytes, byteCount)
  assert.equal(cuts.length, 0)
  return hash.digest('hex')
}

async function writeSeeded(to: Duplex, seed: string): Promise<void> {
  for (const chunk of seededChunks(seed, BYTES)) if (!to.write(chunk)) await once(to, 'drain')
  to.end()
}

async function checkEcho(proxy: TestProxy, stream: Duplex, seed: string): Promise<void> {
  const [sha256] = await Promise.all([readUnderCuts(proxy, stream, BYTES), writeSeeded(stream, seed)])
  assert.equal(sha256, seededSha256(seed, BYTES))
}

/** Proxy, sshd, an agent that also allows an echo service, and a client. */
async function way(
  t: TestContext,
): Promise<{ proxy: TestProxy; sshd: Sshd; tunnel: TunnelService; echo: string }> {
  const [proxy, sshd, echo] = await Promise.all([startProxy(t), startSshd(t), echoService(t)])
  await proxy.startAgent('home', 'alice', sshd, { allow: [echo] })
  return { proxy, sshd, echo, tunnel: await proxy.connect('alice') }
}

/** Connections that sshd has let in: what a pool that lost none has made one of. */
function logins(sshd: Sshd): number {
  return sshd.stderr.match(/Accepted publickey/g)?.length ?? 0
}

test('links of client and agent are cut under streams of every kind, and every byte arrives once', {
  skip,
}, async (t) => {
  const { proxy, sshd, tunnel, echo } = await way(t)
  await tunnel.exec('home', 'true')

  await t.test('sealed', async () => {
    await checkEcho(proxy, await tunnel.open({ machine: 'home', kind: 'ssh', target: echo }), 'sealed')
  })

  await t.test('tcp', async () => {
    await checkEcho(proxy, await tunnel.open({ machine: 'home', kind: 'tcp', target: echo }), 'tcp')
  })

  await t.test('exec, both ways', async () => {
    const stdin = async function* () {
      yield* seededChunks('exec', BYTES)
    }
    const stdout = new PassThrough()
    const read = readUnderCuts(proxy, stdout, BYTES)
    const ended = await tunnel.exec('home', 'cat; exit 3', { stdin: stdin(), stdout })
    stdout.end()
    assert.equal(await read, seededSha256('exec', BYTES))
    assert.equal(ended.exitCode, 3)
  })

  await t.test('a response that streams', async (t) => {
    const server = createServer(async (_request, response) => {
      for (const chunk of seededChunks('http', BYTES))
        if (!response.write(chunk)) await once(response, 'drain')
      response.end()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.closeAllConnections())
    t.after(() => server.close())
    const response = await tunnel.fetch(`http://home:${(server.address() as AddressInfo).port}/`)
    const body = Readable.fromWeb(response.body as ReadableStream)
    assert.equal(await readUnderCuts(proxy, body, BYTES), seededSha256('http', BYTES))
  })

  await t.test('and the pooled SSH connection is the one it was', () => {
    assert.equal(logins(sshd), 1)
  })
})

test('a proxy that is restarted carries sealed streams on, and inspected ones end with a clear error', {
  skip,
}, async (t) => {
  const { proxy, tunnel, echo } = await way(t)
  const sealed = await tunnel.open({ machine: 'home', kind: 'ssh', target: echo })
  const inspected = await tunnel.open({ machine: 'home', kind: 'tcp', target: echo })
  const command = tunnel.exec('home', 'cat', {
    stdin: (async function* () {
      yield Buffer.from('x')
      await new Promise(() => {})
    })(),
  })
  inspected.write('hello')
  await once(inspected, 'data')
  const inspectedEnd = once(inspected, 'error') as Promise<[TunnelError]>
  const commandEnd = command.then(
    () => undefined,
    (error: TunnelError) => error,
  )

  const seed = 'restart'
  const writing = writeSeeded(sealed, seed)
  const hash = createHash('sha256')
  let bytes = 0
  let restarting: Promise<void> | undefined
  for await (const chunk of sealed as AsyncIterable<Buffer>) {
    hash.update(chunk)
    bytes += chunk.length
    if (bytes > BYTES / 3) restarting ??= proxy.restart()
  }
  await Promise.all([writing, restarting])
  assert.equal(hash.digest('hex'), seededSha256(seed, BYTES))

  const [error] = await inspectedEnd
  assert.match(error.code, /UNKNOWN_STREAM|SHUTTING_DOWN/)
  const commandError = await commandEnd
  assert.ok(commandError instanceof TunnelError)
  assert.match(commandError.code, /UNKNOWN_STREAM|SHUTTING_DOWN|OUTCOME_UNKNOWN/)
  assert.equal((await tunnel.exec('home', 'echo again')).stdout.toString(), 'again\n')
})

test('requests under way when the proxy is restarted: what may run twice is sent again, what may not says so', {
  skip,
}, async (t) => {
  const { proxy, tunnel } = await way(t)
  const seen: string[] = []
  let held: (() => void) | undefined = () => {}
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`)
    if (held === undefined) return void response.end('again')
    response.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.closeAllConnections())
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const asked = (method: string, path: string, idempotent?: boolean) =>
    tunnel.forwardRequest({
      machine: 'home',
      port,
      method,
      path,
      ...(method === 'POST' && { body: 'x' }),
      ...(idempotent !== undefined && { idempotent }),
    })
  const get = asked('GET', '/get')
  const marked = asked('POST', '/marked', true)
  const post = asked('POST', '/post').catch((error: TunnelError) => error)
  await until(() => seen.length === 3)
  held = undefined
  const restarting = proxy.restart()
  // Not sent yet: it waits for the next link, and is sent once.
  await until(() => tunnel.state !== 'connected')
  const late = asked('POST', '/late')
  await restarting
  assert.equal((await get).text(), 'again')
  assert.equal((await marked).text(), 'again')
  assert.equal((await late).text(), 'again')
  const error = await post
  assert.ok(error instanceof TunnelError)
  assert.equal(error.code, 'OUTCOME_UNKNOWN')
  const times = (line: string) => seen.filter((each) => each === line).length
  assert.deepEqual(['GET /get', 'POST /marked', 'POST /post', 'POST /late'].map(times), [2, 2, 1, 1])
})

test('a stream that policy allows no more does not resume: it is unknown', {
  skip,
}, async (t) => {
  const { proxy, tunnel, echo } = await way(t)
  const sealed = await tunnel.open({ machine: 'home', kind: 'ssh', target: echo })
  sealed.write('hello')
  await once(sealed, 'data')
  const ended = once(sealed, 'error') as Promise<[TunnelError]>
  proxy.settings.policy.rules.push({ effect: 'deny', users: ['alice'], kinds: ['ssh'], reason: 'no more' })
  await proxy.restart()
  const [error] = await ended
  assert.equal(error.code, 'UNKNOWN_STREAM')
  await assert.rejects(tunnel.open({ machine: 'home', kind: 'ssh' }), { code: 'POLICY_DENIED' })
})

/** An agent as a process of its own, which can be killed. */
async function spawnAgent(t: TestContext, proxy: TestProxy, sshd: Sshd): Promise<Program> {
  const env = isolated('/nonexistent', { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  const agent = startTunnel(t, ['agent', '--machine', 'home', '--ssh', `127.0.0.1:${sshd.port}`], { env })
  await agent.line(/on line/)
  return agent
}

test('killing the agent ends its streams within the resume window, with a clear error and no hang', {
  skip,
}, async (t) => {
  const [proxy, sshd] = await Promise.all([startProxy(t, { set: ['streams.resumeMs=1500'] }), startSshd(t)])
  await sshd.authorize(proxy.app.ssh.publicKey('alice'))
  const agent = await spawnAgent(t, proxy, sshd)
  const tunnel = await proxy.connect('alice')
  const sealed = await tunnel.open({ machine: 'home', kind: 'ssh' })
  await once(sealed, 'data')
  const command = tunnel.exec('home', 'sleep 60')
  await until(() => logins(sshd) === 1)
  const ends = [once(sealed, 'error'), command.catch((error: TunnelError) => [error])] as Promise<
    [TunnelError]
  >[]
  agent.kill('SIGKILL')
  const startedMs = performance.now()
  const errors = await Promise.all(ends)
  assert.ok(performance.now() - startedMs < SOON_MS)
  for (const [error] of errors) assert.match(error.code, /RESUME_EXPIRED|AGENT_LOST|OUTCOME_UNKNOWN/)
  // The proxy and the client each count the same window; whichever is done first says so.
  assert.match(errors[0]![0].message, /no path to the peer came back within 1.5 s|did not come back/)
  await assert.rejects(tunnel.exec('home', 'true'), { code: 'MACHINE_OFFLINE' })
})

test('an agent that was killed and started again knows nothing of the streams, and says so at once', {
  skip,
}, async (t) => {
  const [proxy, sshd] = await Promise.all([startProxy(t), startSshd(t)])
  await sshd.authorize(proxy.app.ssh.publicKey('alice'))
  const killed = await spawnAgent(t, proxy, sshd)
  const tunnel = await proxy.connect('alice')
  const sealed = await tunnel.open({ machine: 'home', kind: 'ssh' })
  await once(sealed, 'data')
  await tunnel.exec('home', 'true')
  const ended = once(sealed, 'error') as Promise<[TunnelError]>
  killed.kill('SIGKILL')
  await killed.exit
  await proxy.startAgent('home', 'alice', sshd)
  const startedMs = performance.now()
  assert.equal((await ended)[0].code, 'UNKNOWN_STREAM')
  assert.ok(performance.now() - startedMs < SOON_MS)
  assert.equal((await tunnel.exec('home', 'echo back')).stdout.toString(), 'back\n')
  assert.equal(logins(sshd), 2)
})

test('a client that is cut for good leaves nothing at proxy and agent when the window is over', {
  skip,
}, async (t) => {
  const [proxy, sshd] = await Promise.all([startProxy(t, { set: ['streams.resumeMs=500'] }), startSshd(t)])
  const debug: string[] = []
  const log = (_level: string, message: string) => void debug.push(message)
  await proxy.startAgent('home', 'alice', sshd, { log })
  const tunnel = await proxy.connect('alice', {
    settings: { backoff: { maxAttempts: 1 }, streams: { resumeMs: 500 } },
  })
  const sealed = await tunnel.open({ machine: 'home', kind: 'ssh' })
  sealed.on('error', () => {})
  await once(sealed, 'data')
  const command = tunnel.exec('home', 'sleep 60').catch((error: TunnelError) => error)
  await until(() => logins(sshd) === 1)
  // The link goes and no other comes.
  void tunnel.disconnect(0)
  proxy.cut('client')
  assert.ok((await command) instanceof TunnelError)
  await until(async () => (await proxy.metric('tunnel_active_connections')) === 1)
  await until(() => debug.some((message) => message.includes('is over')))
  await until(() => proxy.app.pool.states().busy === 0)
})
