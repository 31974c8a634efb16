import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { descendants } from '../support/proc.ts'
import { run } from '../support/process.ts'
import { listenTcp, startProxy } from '../support/proxy.ts'
import { shellLine } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { isolated, startTunnel, TUNNEL, tunnelLines } from './tunnel.ts'

const skip = requirePty()
const CTRL_C = '\u0003'
const TWENTY_COLUMNS = 'stty cols 20; '

/** What takes connections, says nothing, and stands for a proxy in `env`. */
async function silentProxy(t: TestContext, folder: string) {
  const silent = createServer().listen(0, '127.0.0.1')
  t.after(() => silent.close())
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  return { silent, env: isolated(folder, { TUNNEL_URL: `http://127.0.0.1:${port}`, TUNNEL_TOKEN: 'x' }) }
}

/** Each keeps waiting for a proxy that takes its connection and says nothing. */
const DIALLING: readonly [line: string, status: number, said?: RegExp][] = [
  ['exec home -- true', 130],
  ['shell home', 130],
  ['stdio home', 130],
  ['cp NEAR home:', 130, /^tunnel cp: stopped$/],
  ['up', 130],
  // It runs until it is told to end.
  ['forward 0:home:127.0.0.1:1', 0],
]

test('Ctrl-C ends a command that waits for the proxy, at once and without a word', { skip }, async (t) => {
  const folder = await tempFolder(t)
  writeFileSync(join(folder, 'NEAR'), 'near')
  for (const [line, status, said] of DIALLING) {
    const { silent, env } = await silentProxy(t, folder)
    const words = [...TUNNEL, ...line.split(' ')]
    const program = onTerminal(t, words, { env, cwd: folder, stdin: 'pipe' }, TWENTY_COLUMNS)
    const [socket] = await once(silent, 'connection')
    program.write(CTRL_C)
    assert.equal((await program.exit).code, status, `${line}: ${program.stdout}`)
    socket.destroy()
    const lines = shown(program.stdout)
    if (said === undefined) assert.deepEqual(lines, [], line)
    else assert.match(lines.join('\n'), said)
  }
  assert.deepEqual(
    readdirSync(folder, { recursive: true }).filter((name) => /\.sock|part$/.test(String(name))),
    [],
  )
})

test('a command that waits for a token to be pasted says so, and Ctrl-C then keeps nothing', {
  skip,
}, async (t) => {
  const folder = await tempFolder(t)
  const env = isolated(folder)
  const words = [...TUNNEL, ...'use work --url http://127.0.0.1:1 --token-file -'.split(' ')]
  const waiting = async () => {
    const program = onTerminal(t, words, { env, stdin: 'pipe' })
    await program.line('paste the token, then Enter and Ctrl-D')
    return program
  }
  const stopped = await waiting()
  stopped.write(CTRL_C)
  assert.equal((await stopped.exit).code, 130)
  assert.deepEqual(readdirSync(folder), [])
  const pasted = await waiting()
  pasted.write('a.b.c\n\u0004')
  assert.equal((await pasted.exit).code, 0, pasted.stdout)
  const kept = join(folder, 'config', 'ssh-websocket-tunnel', 'work.token')
  assert.equal(readFileSync(kept, 'utf8'), 'a.b.c\n')
})

test('`tunnel up` ends with the status of a signal that its process in the background was ended by', async (t) => {
  const { silent, env } = await silentProxy(t, await tempFolder(t))
  const up = startTunnel(t, ['up'], { env })
  const [socket] = await once(silent, 'connection')
  for (const pid of descendants(up.child.pid!)) process.kill(pid, 'SIGKILL')
  assert.equal((await up.exit).code, 137)
  socket.destroy()
})

/** What stays on the screen: a progress line is written over, and the terminal shows what was typed. */
function shown(output: string): string[] {
  const lines = output.split('\n').map((line) => line.replace(/\r$/, '').split('\r').at(-1) ?? '')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is meant.
  return lines.map((line) => line.replaceAll(/\^C|\u001b\[K/g, '')).filter((line) => line !== '')
}

test('a command that runs ends as it is asked to, in a narrow terminal too', { skip }, async (t) => {
  const proxy = await startProxy(t)
  const greeting = await listenTcp(t, (socket) => socket.write('SSH-2.0-x\r\n'))
  await proxy.startAgent('home', 'alice', greeting)
  const folder = await tempFolder(t)
  const env = isolated(folder, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })

  await t.test('Ctrl-C, once what it was started for is there', async (t) => {
    const running: [line: string, ready: RegExp, status: number][] = [
      ['stdio home', /^SSH-2\.0-x/, 130],
      ['socks home --listen 127.0.0.1:0', /Ctrl-C ends/, 0],
      [`forward ${join(folder, 'local')}:home:127.0.0.1:1`, /Ctrl-C ends/, 0],
    ]
    for (const [line, ready, status] of running) {
      const words = [...TUNNEL, ...line.split(' ')]
      const program = onTerminal(t, words, { env, stdin: 'pipe' }, TWENTY_COLUMNS)
      await program.line(ready)
      program.write(CTRL_C)
      assert.equal((await program.exit).code, status, `${line}: ${program.stdout}`)
    }
    assert.equal(readdirSync(folder).includes('local'), false)
  })

  await t.test('tables fit', async (t) => {
    const words = [...TUNNEL, 'machines']
    const program = onTerminal(t, words, { env: { ...env, NO_COLOR: '1' } }, TWENTY_COLUMNS)
    assert.equal((await program.exit).code, 0)
    for (const line of program.stdout.split(/\r?\n/)) assert.ok(line.length <= 20, line)
  })

  await t.test('a reader that goes away is no error, and no success', async () => {
    // It begins only when its reader has gone.
    const words = shellLine([...TUNNEL, 'machines', '--json'])
    const piped = `mkfifo go; { read -r _ < go; ${words}; } | { exec <&-; echo > go; }; exit \${PIPESTATUS[0]}`
    const { code, stderr } = await run('bash', ['-c', piped], { env, cwd: folder })
    assert.deepEqual([code, stderr], [141, ''])
  })

  await t.test('outputs and an input that are closed from the start disturb nothing', async () => {
    const line = `exec ${shellLine([...TUNNEL, 'machines'])} <&- >&- 2>&-`
    assert.equal((await run('sh', ['-c', line], { env })).code, 0)
  })

  await t.test('what cannot be written in the home folder is named, and the rest works', async () => {
    const home = join(folder, 'file')
    writeFileSync(home, '')
    writeFileSync(join(folder, 'token'), proxy.tokenOf('alice'))
    const lines = [
      ['use', 'work', '--url', proxy.url, '--token-file', join(folder, 'token')],
      ['ssh-config', '--write'],
      ['machines'],
      ['key'],
    ]
    const nowhere = { HOME: home, XDG_CONFIG_HOME: undefined, XDG_CACHE_HOME: undefined }
    const printed = await tunnelLines(lines, { ...env, ...nowhere })
    for (const [index, file] of ['ssh-websocket-tunnel/config.json', '.ssh/config'].entries()) {
      const { code, stderr } = printed[index]!
      assert.equal(code, 2, stderr)
      assert.match(stderr, /^tunnel [\w-]+: [^\n]* cannot be [^\n]*CONFIG_INVALID[^\n]*\n$/)
      assert.ok(stderr.includes(join(home, index === 0 ? '.config' : '', file)), stderr)
    }
    assert.deepEqual(
      printed.slice(2).map(({ code }) => code),
      [0, 0],
    )
  })
})

test('an error that nothing caught is one line, and with --verbose its place in the code', async (t) => {
  const folder = await tempFolder(t)
  const thrower = join(folder, 'thrower.cjs')
  writeFileSync(thrower, "process.on('SIGUSR2', () => { throw new TypeError('unexpected') })")
  const { silent, env } = await silentProxy(t, folder)
  const failing = async (line: string) => {
    const options = { env: { ...env, NODE_OPTIONS: `--require ${thrower}` } }
    const program = startTunnel(t, line.split(' '), options)
    const [socket] = await once(silent, 'connection')
    program.kill('SIGUSR2')
    const { code } = await program.exit
    socket.destroy()
    return { code, stderr: program.stderr }
  }
  const brief = await failing('exec home -- true')
  assert.equal(brief.code, 255)
  assert.match(brief.stderr, /^tunnel exec: unexpected \(client, INTERNAL\): [^\n]*--verbose[^\n]*\n$/)
  const long = await failing('stdio --verbose home')
  assert.equal(long.code, 1)
  assert.match(
    long.stderr,
    /^tunnel stdio: unexpected [^\n]*\n {2}TypeError: unexpected\n {2}at .*thrower\.cjs/,
  )
})
