import assert from 'node:assert/strict'
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import module from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { startProxy } from '../client/proxy.ts'
import { run } from '../support/process.ts'
import { drop, startProxy as startWholeProxy, until } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { BUILT_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

/** The server, the agent, and what settings are checked with. */
const NEEDLESS = /^server\.ts$|^agent\/|\/(options|schema|settings)\.ts$/

function echo(stream: TunnelStream): void {
  stream.accept()
  const duplex = new StreamDuplex(stream)
  duplex.on('error', () => {}).pipe(duplex)
}

/** How many files may hold what it needs: what decides, and what carries. */
const MAX_FILES = 2

/** Every module that a program has loaded, of whichever kind, as V8's coverage (NODE_V8_COVERAGE) lists them. */
async function modulesIn(coverage: string): Promise<string[]> {
  const urls: string[] = []
  for (const name of await readdir(coverage)) {
    const { result } = JSON.parse(await readFile(join(coverage, name), 'utf8')) as {
      result: { url: string }[]
    }
    urls.push(...result.map(({ url }) => url))
  }
  return urls.filter((url) => url.startsWith('file:')).map((url) => fileURLToPath(url))
}

/** The sources that modules of dist/ were made of, from the root. */
async function sourcesOf(modules: readonly string[]): Promise<string[]> {
  const root = dirname(dirname(dirname(BUILT_CLI)))
  const maps = modules.map(async (path) => {
    const { sources } = JSON.parse(await readFile(`${path}.map`, 'utf8')) as { sources: string[] }
    return sources.map((source) => relative(root, resolve(dirname(path), source)))
  })
  return (await Promise.all(maps)).flat()
}

test('tunnel stdio says nothing in a pipe, whatever becomes of its link', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'token' })
  const stdio = startTunnel(t, ['stdio', 'home'], { env, stdin: 'pipe' })
  for (const word of ['one', 'two', 'three']) {
    stdio.write(`${word}\n`)
    await stdio.line(word)
    proxy.cut()
  }
  stdio.end()
  assert.deepEqual(await stdio.exit, { code: 0, signal: null })
  assert.deepEqual([stdio.stdout, stdio.stderr], ['one\ntwo\nthree\n', ''])
  assert.ok(proxy.links.length > 1)
})

test('what ssh says at once leaves with the wish for the stream, and nothing of it is lost or doubled', async (t) => {
  const early: string[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      // Before it is accepted, only what came with it can be here.
      stream.handle({ data: (bytes) => early.push(Buffer.from(bytes).toString()) })
      stream.reset(new TunnelError('POLICY_DENIED', 'enough', { hop: 'client' }))
    },
  })
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'token' })
  const input = 'SSH-2.0-OpenSSH_9.9\r\n'
  assert.equal((await tunnel(['stdio', 'home'], { env, input })).code, 5)
  assert.deepEqual(early, [input])
  const echoing = await startProxy(t, { onStream: echo })
  const long = 'x'.repeat(200_000)
  const whole = await tunnel(['stdio', 'home'], { env: { ...env, TUNNEL_URL: echoing.url }, input: long })
  assert.equal(whole.stdout, long)
})

test('tunnel stdio loads two files, no package and no server: ssh waits for it', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const folder = await tempFolder(t)
  for (const profile of ['', 'unstable-network']) {
    const coverage = join(folder, `coverage ${profile}`)
    const env = isolated(join(folder, 'state'), {
      TUNNEL_URL: proxy.url,
      TUNNEL_TOKEN: 'token',
      TUNNEL_PROFILE: profile,
      NODE_V8_COVERAGE: coverage,
    })
    const words = [BUILT_CLI, 'stdio', 'home']
    const { code, stdout, stderr } = await run(process.execPath, words, { env, input: 'here' })
    assert.deepEqual([code, stdout], [0, 'here'], stderr)
    const loaded = await modulesIn(coverage)
    const ours = loaded.filter((path) => !path.includes('node_modules'))
    const sources = await sourcesOf(ours)
    assert.ok(sources.includes('cli/commands/stdio.ts'), sources.join())
    assert.deepEqual(
      sources.filter((path) => NEEDLESS.test(path)),
      [],
    )
    assert.ok(ours.length <= MAX_FILES, ours.join())
    // What makes the WebSocket quicker, where it could be compiled.
    const others = loaded.filter((path) => !/node_modules\/(bufferutil|node-gyp-build)\//.test(path))
    assert.deepEqual(others, ours)
  }
})

const KEEPS_ITSELF = (module as { enableCompileCache?: unknown }).enableCompileCache !== undefined

test('what was compiled is kept for the next start, unless another could have written it', {
  skip: KEEPS_ITSELF && 'Node keeps it',
}, async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const folder = await tempFolder(t)
  const env = isolated(folder, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'token' })
  const start = async (): Promise<void> => {
    const { code, stdout } = await run(process.execPath, [BUILT_CLI, 'stdio', 'home'], { env, input: 'here' })
    assert.deepEqual([code, stdout], [0, 'here'])
  }
  await start()
  const kept = join(folder, 'cache', 'ssh-websocket-tunnel', 'compiled')
  const [name = ''] = await readdir(kept)
  const file = join(kept, name)
  const inode = async (): Promise<number> => (await stat(file)).ino
  const first = await inode()
  await start()
  assert.equal(await inode(), first)
  const whole = await readFile(file)
  const spoilt = Buffer.from(whole)
  spoilt.fill(0, whole.length / 2)
  await writeFile(file, spoilt)
  await start()
  const second = await inode()
  assert.notEqual(second, first)
  await chmod(file, 0o666)
  await start()
  assert.notEqual(await inode(), second)
})

test('a tunnel stdio that is ended while it waits for its turn to log in takes no turn', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const proxy = await startWholeProxy(t)
  await proxy.startAgent('home', 'alice', await startSshd(t))
  const alice = await proxy.connect('alice')
  const open = () => alice.open({ machine: 'home', kind: 'ssh' })
  const held = await Promise.all(Array.from({ length: 8 }, open))
  const states = async (): Promise<string> => {
    const streams = (await (await proxy.api('alice', 'sessions')).json()) as { state: string }[]
    return streams.flatMap(({ state }) => (state === 'open' ? [] : state)).join(' ')
  }
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  const waiting = async () => {
    const stdio = startTunnel(t, ['stdio', 'home'], { env, stdin: 'pipe' })
    await until(async () => (await states()) === 'opening')
    return stdio
  }
  // Ctrl-C ends ssh as well, which then hangs up.
  for (const signals of [['SIGHUP'], ['SIGTERM'], ['SIGINT', 'SIGHUP']] as const) {
    const stdio = await waiting()
    for (const signal of signals) process.kill(stdio.pid, signal)
    await stdio.exit
    await until(async () => (await states()) === '')
    assert.deepEqual([stdio.stdout, stdio.stderr], ['', ''])
  }
  const killed = await waiting()
  killed.kill('SIGKILL')
  await until(async () => (await states()) === 'suspended')
  const next = open()
  drop(held[0]!)
  drop(await next)
})
