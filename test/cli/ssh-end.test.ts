import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { startProxy } from '../client/proxy.ts'
import { descendants, killTree } from '../support/proc.ts'
import { type Program, spawnProgram } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { requireSystem, shellLine } from '../support/sshd.ts'
import { freePort } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, TUNNEL } from './tunnel.ts'
import { buildWay, buildWayInside, type Way } from './way.ts'

const skip = requireSystem('sshd', 'ssh')

/** Runs `words` between two pipes of a shell (Node's own spawn gives sockets), of which the first never ends. */
function betweenPipes(scope: Scope, words: readonly string[], env: NodeJS.ProcessEnv): Program {
  const line = `tail -f /dev/null | { ${shellLine(words)}; echo "status $?" >&2; } | { cat; echo over; }`
  const shell = spawnProgram(scope, 'sh', ['-c', line], { env })
  scopeTree(scope, shell)
  return shell
}

/** A shell that is ended leaves what it started. */
function scopeTree(scope: Scope, shell: Program): void {
  scope.after(() => void killTree(shell.pid))
}

function say(word: string) {
  return (stream: TunnelStream): void => {
    stream.accept()
    new StreamDuplex(stream).on('error', () => {}).end(word)
  }
}

test('tunnel stdio tells the reader of a pipe that the machine has ended, and ends', async (t) => {
  const proxy = await startProxy(t, { onStream: say('bye\n') })
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'token' })
  const stdio = betweenPipes(t, [...TUNNEL, 'stdio', 'home'], env)
  await stdio.line('bye')
  await stdio.line('over')
  await stdio.line('status 0')
})

test('tunnel stdio to another address passes on a half close in a pipe, and goes on reading', async (t) => {
  let received = ''
  const onStream = (stream: TunnelStream): void => {
    stream.accept()
    const duplex = new StreamDuplex(stream)
    duplex
      .on('error', () => {})
      .on('data', (chunk: Buffer) => {
        received += chunk.toString()
      })
    duplex.end('bye\n')
  }
  const proxy = await startProxy(t, { onStream })
  const folder = await tempFolder(t)
  const env = isolated(folder, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'token' })
  const words = shellLine([...TUNNEL, 'stdio', 'home', '127.0.0.1:1'])
  // What is sent leaves only after the other half is over.
  const line = `mkfifo go && { read -r _ < go; echo after; } | ${words} | { cat; echo > go; }`
  const shell = spawnProgram(t, 'sh', ['-c', line], { env, cwd: folder })
  scopeTree(t, shell)
  assert.deepEqual(await shell.exit, { code: 0, signal: null })
  assert.deepEqual([shell.stdout, received], ['bye\n', 'after\n'])
})

/** The processes that sshd has for its connections. */
function sessions(way: Way): number[] {
  return descendants(way.sshd.pid).filter((pid) => {
    try {
      return /^sshd/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'))
    } catch {
      return false // it has ended meanwhile
    }
  })
}

/** Of the two that sshd may have for a connection the second may have ended with the first. */
function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // gone already
  }
}

test('ssh hears at once that the machine has ended its connection', { skip }, async (t) => {
  const way = await buildWayInside(t)
  const ssh = (...more: string[]) => {
    const args = ['ssh', ...way.sshOptions, '-o', 'LogLevel=INFO', ...more]
    return startTunnel(t, args, { env: way.env, stdin: 'pipe' })
  }
  /** Ends every session, and gives what this ssh says of it. By itself it would notice that after hours. */
  const cut = async (running: Program): Promise<string> => {
    for (const pid of sessions(way)) end(pid)
    assert.deepEqual(await running.exit, { code: 255, signal: null }, running.stderr)
    return running.stderr
  }

  await t.test('under a command that says nothing', async () => {
    const running = ssh('home', 'echo up; exec sleep 100')
    await running.line('up')
    assert.match(await cut(running), /closed by remote host/i)
  })

  await t.test('with a forwarded port alone', async () => {
    const port = await freePort()
    const running = ssh('-v', '-N', '-L', `${port}:127.0.0.1:${way.sshd.port}`, 'home')
    await running.line(/Entering interactive session|pledge: network/)
    // It may be writing at that moment.
    assert.match(await cut(running), /closed by remote host|send disconnect: Broken pipe/i)
  })

  await t.test('at a prompt where nobody types', async () => {
    const running = ssh('-tt', 'home', 'echo up; exec cat')
    await running.line('up')
    assert.match(await cut(running), /closed by remote host/i)
  })

  assert.equal(await (await startTunnel(t, ['status'], { env: way.env }).exit).code, 0)
})

test('an ssh that comes while the machine takes no more logins waits for one to end', { skip }, async (t) => {
  const way = await buildWay(t, 'default', { config: ['MaxStartups 1'] })
  // Held before it has logged in: the next one is turned away.
  const held = startTunnel(t, ['stdio', 'home'], { env: way.env, stdin: 'pipe' })
  await held.line('SSH-2.0-OpenSSH')
  const next = startTunnel(t, ['ssh', ...way.sshOptions, 'home', 'echo in'], { env: way.env })
  await way.agent.line(/was refused: .*too many are logging in/)
  assert.ok(next.running)
  held.end()
  assert.deepEqual(await next.exit, { code: 0, signal: null })
  assert.equal(next.stdout, 'in\n')
})

test('tunnel stdio that ssh hangs up on ends its stream in order: it was not given up', async (t) => {
  let over: (error: Error | undefined) => void = () => {}
  const ended = new Promise<Error | undefined>((resolve) => {
    over = resolve
  })
  const onStream = (stream: TunnelStream): void => {
    stream.accept()
    const duplex = new StreamDuplex(stream)
    duplex.on('error', over).on('close', () => over(undefined))
    duplex.on('end', () => duplex.end()).resume()
    duplex.write('hello\n')
  }
  const proxy = await startProxy(t, { onStream })
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'token' })
  const [command = '', ...words] = TUNNEL
  const stdio = spawnProgram(t, command, [...words, 'stdio', 'home'], { env })
  await stdio.line('hello')
  process.kill(stdio.pid, 'SIGHUP')
  assert.equal(await ended, undefined)
  assert.deepEqual(await stdio.exit, { code: 0, signal: null })
})
