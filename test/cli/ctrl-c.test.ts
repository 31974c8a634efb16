import assert from 'node:assert/strict'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { descendants, processFacts } from '../support/proc.ts'
import type { Program } from '../support/process.ts'
import { listenTcp, startProxy, until } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { isolated, TUNNEL } from './tunnel.ts'

const skip = requirePty()
const CTRL_C = '\u0003'
/** Of the proxy's metrics: the agent's link, and the client's. */
const LINKS = 'tunnel_active_connections'

/** Presses Ctrl-C, and answers with what the terminal shows of it when the program and all that it started are gone. */
async function stop(program: Program, status: number): Promise<string> {
  const started = [program.pid, ...descendants(program.pid)]
  const before = program.stdout.length
  program.write(CTRL_C)
  assert.equal((await program.exit).code, status, program.stdout)
  for (const pid of started) await until(() => !isAlive(pid))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is meant.
  return program.stdout.slice(before).replaceAll(/\^C|[^\n]*\r\u001b\[K|\r/g, '')
}

function isAlive(pid: number): boolean {
  const facts = processFacts(pid)
  return facts !== undefined && !facts.zombie
}

const LITTER = /\.(sock|status|lock|tmp)$|tunnel-part|\.login\.json$/

function litterIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => LITTER.test(name))
}

/** What a command shows, at the most, once Ctrl-C was pressed, and what it shows while it waits for its token. */
type Words = { said?: RegExp; before?: RegExp }
/** Each asks for a token first; what runs until it is told to end has not failed. */
const ASKING: readonly [line: string, status: number, words?: Words][] = [
  ['machines', 130],
  ['status', 130],
  // It tests the hops that need no token meanwhile.
  ['diagnose', 130, { before: /tls +the address[^\n]*\n/ }],
  ['request http://home:1/', 130],
  ['exec home -- true', 130],
  ['shell home', 130],
  ['stdio home', 130],
  ['cp NEAR home:', 130, { said: /^tunnel cp: stopped\n$/ }],
  ['up', 130],
  ['forward 0:home:127.0.0.1:1', 0],
  ['socks home --listen 127.0.0.1:0', 0],
  // It looks for the machine's sshd meanwhile, and there is none.
  ['agent --machine home --ssh 127.0.0.1:1', 0, { before: /goes\s+on\s+asking[^\n]*\n/ }],
]

test('Ctrl-C ends a command whose token command never ends, and that too, whatever signals it ignores', {
  skip,
}, async (t) => {
  const { url } = await startProxy(t)
  const folder = await tempFolder(t)
  const file = (name: string) => join(folder, name)
  writeFileSync(file('NEAR'), 'near')
  const ignoring = `#!/bin/sh\ntrap '' INT TERM HUP\necho $$ >${file('new')} && mv ${file('new')} ${file('pid')}\n`
  writeFileSync(file('ask'), `${ignoring}exec tail -f /dev/null\n`)
  chmodSync(file('ask'), 0o755)
  const env = isolated(folder, { TUNNEL_URL: url, TUNNEL_TOKEN_COMMAND: file('ask') })
  for (const [line, status, { said = /^$/, before = /^/ } = {}] of ASKING) {
    const program = onTerminal(t, [...TUNNEL, ...line.split(' ')], { env, cwd: folder, stdin: 'pipe' })
    await until(() => existsSync(file('pid')) && before.test(program.stdout))
    const asked = Number(readFileSync(file('pid'), 'utf8'))
    rmSync(file('pid'))
    assert.match(await stop(program, status), said, line)
    await until(() => !isAlive(asked))
  }
  assert.deepEqual(litterIn(folder), [])
})

test('Ctrl-C ends a shell, an exec and a request that the sshd of the machine keeps waiting', {
  skip: skip ?? requireSystem('sshd'),
}, async (t) => {
  const sshd = await startSshd(t)
  // One that is given up while it is waited for ends what waits with an error.
  const proxy = await startProxy(t, { set: ['ssh.connectTimeoutMs=600000'] })
  let isSilent = false
  const reached = new Promise<void>((resolve) => {
    void listenTcp(t, (socket) => {
      if (isSilent) return resolve()
      const there = connect(sshd.port, sshd.host).on('error', () => {})
      socket.pipe(there).pipe(socket)
    }).then((address) => proxy.startAgent('home', 'alice', address))
  })
  await until(async () => /SHA256/.test(await (await proxy.api('alice', 'machines')).text()))
  isSilent = true
  const folder = await tempFolder(t)
  const env = isolated(folder, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  for (const line of ['shell home', 'exec home -- true', 'request http://home:1/']) {
    const program = onTerminal(t, [...TUNNEL, ...line.split(' ')], { env, stdin: 'pipe' })
    await until(async () => (await proxy.metric('tunnel_streams')) === 1)
    // The proxy makes one connection to the machine for all three.
    await reached
    assert.equal(await stop(program, 130), '', line)
    await until(async () => (await proxy.metric('tunnel_streams')) === 0)
  }
})

test('Ctrl-C ends a copy whose sums the machine is making, and says what is left of it', {
  skip: skip ?? requireSystem('sshd'),
}, async (t) => {
  const folder = await tempFolder(t)
  const file = (name: string) => join(folder, name)
  // In place of the program that makes them: it begins, and takes its time.
  writeFileSync(file('openssl'), `#!/bin/sh\necho >${file('begun')}\nexec sleep 60\n`)
  chmodSync(file('openssl'), 0o755)
  writeFileSync(file('near'), 'near')
  const path = `${folder}:${process.env.PATH}`
  const sshd = await startSshd(t, { config: [`SetEnv HOME=${folder} PATH=${path}`] })
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', sshd)
  const env = isolated(file('state'), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  const words = [...TUNNEL, 'cp', file('near'), `home:${file('far')}`]
  const program = onTerminal(t, words, { env, stdin: 'pipe', cwd: folder })
  await until(() => existsSync(file('begun')))
  const said = await stop(program, 130)
  assert.match(
    said,
    /^[^\n]*tunnel cp: [^\n]*(kept in|stopped)[\s\S]*far\.tunnel-part[\s\S]*goes on\s+from there\n$/,
  )
  assert.deepEqual([existsSync(file('far')), existsSync(file('far.tunnel-part'))], [false, true])
})

test('Ctrl-C ends ssh that asks for a password, with its ProxyCommand and the stream', {
  skip: skip ?? requireSystem('sshd', 'ssh'),
}, async (t) => {
  const sshd = await startSshd(t, { config: ['PasswordAuthentication yes', 'PermitRootLogin yes'] })
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', sshd)
  const folder = await tempFolder(t)
  const env = isolated(folder, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  const options = [
    ...['PubkeyAuthentication=no', 'PreferredAuthentications=password', 'LogLevel=ERROR'],
    ...['StrictHostKeyChecking=accept-new', `UserKnownHostsFile=${join(folder, 'known_hosts')}`],
  ].flatMap((option) => ['-o', option])
  const words = [...TUNNEL, 'ssh', '-F', '/dev/null', ...options, `${sshd.user}@home`]
  const program = onTerminal(t, words, { env, stdin: 'pipe' })
  await program.line(/password: $/)
  assert.match(await stop(program, 130), /^\n?$/)
  await until(async () => (await proxy.metric(LINKS)) === 1)
})
