import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connectLocal } from '../../cli/warm/dial.ts'
import type { HubStatus } from '../../cli/warm/hub-status.ts'
import { encodeHead, encodeJson, FrameType } from '../../protocol/codec/frames.ts'
import { localTransport } from '../../protocol/node/local-transport.ts'
import { helloOf, idOf } from '../plugins/links/raw-client.ts'
import { spawnProgram } from '../support/process.ts'
import { listenTcp, startProxy, type TestProxy, until } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { Caller, portOf } from './forwarding/forwarding.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

interface Scene {
  proxies: TestProxy[]
  env: NodeJS.ProcessEnv
  folder: string
  /** What the agent dials, as its SSH server and for a forwarded port. */
  echo: string
}

/** Proxies on one state, an agent at each whose SSH server answers with what it gets, and where `tunnel up` would listen. */
async function scene(t: TestContext, count = 1, set: string[] = []): Promise<Scene> {
  const first = await startProxy(t, { set })
  const proxies = [first]
  while (proxies.length < count) proxies.push(await startProxy(t, { sharing: first }))
  const urls = proxies.map(({ url }) => url)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await first.startAgent('home', 'alice', echo, { urls, allow: [echo] })
  const folder = await tempFolder(t)
  chmodSync(folder, 0o700)
  const env = isolated(folder, { TUNNEL_URL: urls.join(' '), TUNNEL_TOKEN: first.tokenOf('alice') })
  const socketsIn = join(folder, 'ssh-websocket-tunnel')
  t.after(async () => {
    if (socketsOf(socketsIn).length > 0) await tunnel(['down'], { env })
  })
  return { proxies, env, folder: socketsIn, echo }
}

/** Where somebody keeps a link, or has kept one and was killed. */
function socketsOf(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.sock')) : []
}

function clientLinks({ app }: TestProxy): number {
  return app.links.count - 1
}

test('what `tunnel up` keeps carries other commands, and when it ends their streams go on by themselves', async (t) => {
  const { proxies, env, folder, echo } = await scene(t)
  const [proxy] = proxies as [TestProxy]
  const up = await tunnel(['up', '--json'], { env })
  assert.equal(up.code, 0, up.stderr)
  const { state, pid } = JSON.parse(up.stdout) as { state: string; pid: number }
  assert.equal(state, 'up')
  assert.match((await tunnel(['up'], { env })).stdout, new RegExp(`^already up: .*process ${pid}`))
  const [socket] = socketsOf(folder)
  assert.equal(statSync(join(folder, socket!)).mode & 0o777, 0o600)

  const stdio = startTunnel(t, ['stdio', 'home'], { env, stdin: 'pipe' })
  stdio.write('one\n')
  await stdio.line('one')
  const forward = startTunnel(t, ['forward', `0:home:${echo}`], { env })
  assert.equal(await new Caller(t, await portOf(forward)).ask('hello'), 'hello')
  assert.equal(clientLinks(proxy), 1)
  await forward.stop()
  const status = async () => JSON.parse((await tunnel(['status', '--json'], { env })).stdout).up
  // It may not have noticed yet that a program has ended, and one that is busy does not answer at once.
  const isSettled = (up: HubStatus | null) => up?.programs === 1 && up.rttMs !== null
  let told = await status()
  while (!isSettled(told)) told = await status()
  const { rttMs, since, url, ...rest } = told
  assert.equal(url, `${proxy.url.replace('http', 'ws')}/api/tunnel/connect`)
  assert.ok(rttMs > 0 && Date.parse(since) <= Date.now(), `${rttMs} ${since}`)
  const held = { programs: 1, streams: 1 }
  assert.deepEqual(rest, { pid, state: 'connected', transport: 'websocket', quality: rest.quality, ...held })
  assert.match((await tunnel(['down'], { env })).stdout, /^down: /)
  assert.equal(await status(), null)
  stdio.write('two\n')
  await stdio.line('two')
  // The proxy may hear later than everybody else that the link of `tunnel up` is over.
  await until(() => clientLinks(proxy) === 1)
  stdio.end()
  assert.deepEqual(await stdio.exit, { code: 0, signal: null })
  assert.deepEqual([stdio.stdout, stdio.stderr], ['one\ntwo\n', ''])
  assert.match((await tunnel(['down'], { env })).stdout, /^not up: /)
})

test('over a link that is there a token command is not run, and without it, it is', async (t) => {
  const { proxies, env, folder } = await scene(t)
  const [proxy] = proxies as [TestProxy]
  const dir = join(folder, '..')
  const [command, count] = [join(dir, 'token'), join(dir, 'count')]
  writeFileSync(command, `#!/bin/sh\necho >> ${count}; echo ${proxy.tokenOf('alice')}\n`, { mode: 0o755 })
  const { TUNNEL_URL: _, TUNNEL_TOKEN: __, ...bare } = env
  const runs = (): number => readFileSync(count, 'utf8').length
  const use = ['use', 'work', '--url', proxy.url, '--token-command', command]
  assert.equal((await tunnel(use, { env: bare })).code, 0)
  assert.equal((await tunnel(['up'], { env: bare })).code, 0)
  const before = runs()
  const words = ['stdio', 'home']
  assert.equal((await tunnel(words, { env: bare, input: 'over it\n' })).stdout, 'over it\n')
  assert.deepEqual([runs(), clientLinks(proxy)], [before, 1])
  assert.match((await tunnel(['down'], { env: bare })).stdout, /^down: /)
  assert.equal(runs(), before)
  assert.equal((await tunnel(words, { env: bare, input: 'without\n' })).stdout, 'without\n')
  assert.equal(runs(), before + 1)
  assert.deepEqual(socketsOf(folder), [])
})

test('`tunnel down` finds the link without the token that it was made with, and leaves that of another token', async (t) => {
  const { proxies, env, folder } = await scene(t)
  const { TUNNEL_TOKEN: alices, ...bare } = env
  const bobs = { ...env, TUNNEL_TOKEN: proxies[0]!.tokenOf('bob') }
  for (const each of [env, bobs]) assert.equal((await tunnel(['up'], { env: each })).code, 0)
  assert.match(
    (await tunnel(['down'], { env: { ...bare, TUNNEL_URL: 'http://127.0.0.1:1' } })).stdout,
    /^not up: /,
  )
  assert.match((await tunnel(['down'], { env: bobs })).stdout, /^down: /)
  assert.match((await tunnel(['down'], { env: bobs })).stdout, /^not up: /)
  assert.equal(socketsOf(folder).length, 1)
  const gone = { ...bare, TUNNEL_TOKEN_FILE: join(folder, 'gone') }
  assert.match((await tunnel(['down'], { env: gone })).stdout, /^down: /)
  assert.equal((await tunnel(['up', '--token', alices!], { env: bare })).code, 0)
  assert.match((await tunnel(['down'], { env: bare })).stdout, /^down: /)
  assert.deepEqual(socketsOf(folder), [])
})

test('where the shared link is full, further commands have links of their own', async (t) => {
  const { proxies, env } = await scene(t, 1, ['streams.maxPerLink=4'])
  const [proxy] = proxies as [TestProxy]
  assert.equal((await tunnel(['up'], { env })).code, 0)
  for (let count = 1; count <= 5; count++) {
    const stdio = startTunnel(t, ['stdio', 'home'], { env, stdin: 'pipe' })
    stdio.write('in\n')
    await stdio.line('in')
    assert.equal(clientLinks(proxy), count <= 3 ? 1 : count - 2)
  }
})

test('a process that keeps a link and is stopped holds nobody up', async (t) => {
  const { proxies, env } = await scene(t)
  const { pid } = JSON.parse((await tunnel(['up', '--json'], { env })).stdout) as { pid: number }
  process.kill(pid, 'SIGSTOP')
  t.after(() => process.kill(pid, 'SIGCONT'))
  const stdio = startTunnel(t, ['stdio', 'home'], { env, stdin: 'pipe' })
  stdio.write('in\n')
  await stdio.line('in')
  assert.equal(clientLinks(proxies[0]!), 2)
  stdio.end()
  await stdio.exit
})

test('a program that is held up while it is let in has been let in', async (t) => {
  const folder = await tempFolder(t)
  chmodSync(folder, 0o700)
  const path = join(folder, 'x.sock')
  const greet =
    "require('net').createServer((s) => s.write(Buffer.from([1]))).listen(process.argv[1], () => console.log('up'))"
  await spawnProgram(t, process.execPath, ['-e', greet, path]).line('up')
  const found = connectLocal(path)
  // Its loop stands still for longer than a process that keeps a link may take.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500)
  const socket = await found
  assert.ok(socket)
  socket.destroy()
})

test('streams over the shared link go on through another proxy when theirs drains', async (t) => {
  const { proxies, env } = await scene(t, 2)
  const [leaving, staying] = proxies as [TestProxy, TestProxy]
  assert.equal((await tunnel(['up'], { env })).code, 0)
  const stdio = startTunnel(t, ['stdio', 'home'], { env, stdin: 'pipe' })
  stdio.write('one\n')
  await stdio.line('one')
  assert.deepEqual([clientLinks(leaving), clientLinks(staying)], [1, 0])
  await leaving.app.lifecycle.drain(60_000)
  stdio.write('two\n')
  await stdio.line('two')
  assert.equal(clientLinks(staying), 1)
  stdio.end()
  assert.deepEqual(await stdio.exit, { code: 0, signal: null })
})

test('a program that stays on its link when the proxy is another one begins nothing there', async (t) => {
  const { proxies, env, folder } = await scene(t, 2)
  const [leaving, staying] = proxies as [TestProxy, TestProxy]
  assert.equal((await tunnel(['up'], { env })).code, 0)
  const [name] = socketsOf(folder)
  const socket = await connectLocal(join(folder, name!))
  const transport = localTransport(socket!, 1_048_576)
  t.after(() => transport.terminate())
  const came: number[] = []
  transport.receiver = {
    message: (frame) => void came.push(frame[0]!),
    text: () => {},
    drained: () => {},
    closed: () => {},
  }
  transport.send(encodeJson(FrameType.HELLO, 0, helloOf()))
  await until(() => came.includes(FrameType.HELLO))
  await leaving.app.lifecycle.drain(60_000)
  await until(() => came.includes(FrameType.GOAWAY))
  const asked: string[] = []
  staying.app.tunnel.addHook('preOpen', async ({ head }) => void asked.push(head.kind))
  const head = { id: idOf(1), kind: 'exec', machine: 'home', window: 65_536, exec: { command: 'true' } }
  transport.send(encodeHead(FrameType.OPEN, 1, head))
  await until(() => came.includes(FrameType.SUSPEND))
  assert.deepEqual(asked, [])
})

test('a socket that nobody listens at is replaced, and a folder of others is not used', async (t) => {
  const { env, folder } = await scene(t)
  const first = await tunnel(['up', '--json'], { env })
  process.kill((JSON.parse(first.stdout) as { pid: number }).pid, 'SIGKILL')
  assert.equal(socketsOf(folder).length, 1)
  await until(async () => /^not up/.test((await tunnel(['down'], { env })).stdout))
  assert.match((await tunnel(['up'], { env })).stdout, /^up: /)
  assert.match((await tunnel(['down'], { env })).stdout, /^down: /)
  assert.deepEqual(socketsOf(folder), [])
  chmodSync(folder, 0o755)
  const refused = await tunnel(['up'], { env })
  assert.deepEqual([refused.code, refused.stdout], [5, ''])
  assert.match(refused.stderr, /can be entered by other users/)
  const unmade = await tunnel(['up'], { env: { ...env, XDG_RUNTIME_DIR: process.execPath } })
  assert.deepEqual([unmade.code, unmade.stdout], [2, ''])
  assert.match(unmade.stderr, /^tunnel up: \S+\.sock cannot be written \(.*CONFIG_INVALID\)\n$/)
})

test("`tunnel up` whose token is another user's by now ends, and carries nothing in that name for the first", async (t) => {
  const { proxies, env, folder } = await scene(t)
  const [proxy] = proxies as [TestProxy]
  const file = join(folder, '..', 'token')
  writeFileSync(file, proxy.tokenOf('alice'), { mode: 0o600 })
  const { TUNNEL_TOKEN: _, ...bare } = env
  const up = startTunnel(t, ['up', '--foreground'], { env: { ...bare, TUNNEL_TOKEN_FILE: file } })
  await up.line(/^up: /)
  // Another token of the same user's is what it waits for.
  writeFileSync(file, proxy.tokenOf('alice'))
  const idsOf = () =>
    proxy.app.links.list('alice').flatMap(({ role, connectionId }) => (role === 'client' ? connectionId : []))
  const [first] = idsOf()
  proxy.cut('client')
  await until(() => idsOf().some((id) => id !== first))
  writeFileSync(file, proxy.tokenOf('bob'))
  proxy.cut('client')
  assert.equal((await up.exit).code, 5)
  assert.match(up.stderr, /the token is of another user .*FORBIDDEN/)
  assert.deepEqual([socketsOf(folder), proxy.app.links.list('bob')], [[], []])
})

test('`tunnel up` that cannot reach the proxy says why, once, and stays in no background', async (t) => {
  const { env, folder } = await scene(t)
  const nowhere = { ...env, TUNNEL_URL: 'http://127.0.0.1:1' }
  const { code, stdout, stderr } = await tunnel(['up'], { env: nowhere })
  assert.deepEqual([code, stdout], [4, ''])
  assert.match(stderr, /^tunnel up: nothing listens at 127\.0\.0\.1:1 .*\n$/)
  assert.deepEqual(socketsOf(folder), [])
})

async function socketPair(t: TestContext): Promise<[Socket, Socket]> {
  const server = createServer().listen(join(await tempFolder(t), 'socket'))
  await once(server, 'listening')
  const near = connect(server.address() as string)
  const [far] = (await once(server, 'connection')) as [Socket]
  t.after(() => {
    near.destroy()
    far.destroy()
    server.close()
  })
  return [near, far]
}

test('a local transport gives frames back whole however they arrive, and a goodbye with its code', async (t) => {
  const [raw, socket] = await socketPair(t)
  const transport = localTransport(socket, 100)
  const got: string[] = []
  const closed = new Promise((resolve) => {
    transport.receiver = {
      message: (frame) => void got.push(Buffer.from(frame).toString()),
      text: () => {},
      drained: () => {},
      closed: (code, reason) => resolve([code, reason]),
    }
  })
  const bytes = Buffer.concat([
    ...['a', 'bc'.repeat(40), ''].map((text) => {
      const frame = Buffer.alloc(4 + text.length, text)
      frame.writeUInt32BE(text.length)
      frame.write(text, 4)
      return frame
    }),
    Buffer.from([0x80, 0, 0, 5, 4409 >> 8, 4409 & 0xff, 0x62, 0x79, 0x65]),
  ])
  for (const byte of bytes) {
    raw.write(Buffer.from([byte]))
    await new Promise(setImmediate)
  }
  assert.deepEqual(await closed, [4409, 'bye'])
  assert.deepEqual(got, ['a', 'bc'.repeat(40), ''])
})

test('a local peer that sends too long a frame is closed with 1009', async (t) => {
  const [raw, socket] = await socketPair(t)
  const transport = localTransport(socket, 100)
  const closed = new Promise((resolve) => {
    transport.receiver = { message: () => {}, text: () => {}, drained: () => {}, closed: resolve }
  })
  raw.write(Buffer.from([0, 0, 0, 101, 1]))
  assert.equal(await closed, 1009)
})
