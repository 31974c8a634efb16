import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
} from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { encodeFrame, FrameType } from '../../protocol/codec/frames.ts'
import { RawClient } from '../plugins/links/raw-client.ts'
import { processFacts } from '../support/proc.ts'
import { type ProgramOptions, spawnProgram } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import { shellLine } from '../support/sshd.ts'
import { freePort, requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, TUNNEL, tunnel } from './tunnel.ts'

const skip = process.platform === 'linux' ? false : 'uses /proc and addresses of 127.0.0.0/8'

/** The proxy, started by a shell that first does `before`, with its output where `redirection` says. */
async function startProxy(t: TestContext, before: string, redirection: string, more: string[] = []) {
  const env = isolated(join(await tempFolder(t), 'state'))
  const port = await freePort()
  const words = [...TUNNEL, 'server', '--port', String(port), ...more]
  const options: ProgramOptions = { env }
  const proxy = spawnProgram(t, 'sh', ['-c', `${before} exec ${shellLine(words)} ${redirection}`], options)
  const url = `http://127.0.0.1:${port}`
  await until(() => health(url))
  return { proxy, port, url, env }
}

function health(url: string): Promise<boolean> {
  // A connection that is closed at once may keep undici waiting.
  return fetch(`${url}/api/tunnel/health`, { signal: AbortSignal.timeout(5_000) }).then(
    ({ status }) => status === 200,
    () => false,
  )
}

/** A connection from one of the addresses of this machine that asks nothing. */
function stranger(t: TestContext, port: number, localAddress: string): Socket {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  t.after(() => socket.destroy())
  return socket.on('error', () => {})
}

test('more connections than the process has descriptors end neither it nor the links that stand', {
  skip,
}, async (t) => {
  const { proxy, port, url, env } = await startProxy(t, 'ulimit -n 256;', '')
  const token = (await tunnel(['token', '--sub', 'alice'], { env })).stdout.trim()
  const link = await new RawClient(t, { url, token }).hello()
  const descriptors = () => readdirSync(`/proc/${proxy.pid}/fd`).length
  const before = descriptors()

  const strangers: Socket[] = []
  for (let address = 2; address < 12; address++) {
    for (let count = 0; count < 60; count++) strangers.push(stranger(t, port, `127.0.0.${address}`))
  }
  await until(() => descriptors() > 180)
  // Whatever looks at the process every second has looked; the link works all the while.
  const sinceMs = performance.now()
  for (let count = 0; performance.now() - sinceMs < 1_300; count++) {
    const name = String(count).padStart(8, '0')
    link.send(encodeFrame(FrameType.PING, 0, Buffer.from(name)))
    await link.frame((frame) => frame[0] === FrameType.PONG && frame.includes(name))
  }
  assert.ok(descriptors() < 256)
  assert.equal(proxy.running, true, proxy.stderr)
  for (const socket of strangers) socket.destroy()
  await until(() => health(url))
  await until(() => descriptors() <= before + 5)
})

test('one address cannot take all the connections: another still gets in', { skip }, async (t) => {
  const { port, url } = await startProxy(t, 'ulimit -n 256;', '')
  const strangers = Array.from({ length: 300 }, () => stranger(t, port, '127.0.0.2'))
  // All but a quarter are refused at once.
  await until(() => strangers.filter(({ destroyed }) => destroyed).length > 200)
  await until(() => health(url))
})

test('a full disk under the log costs lines: the proxy serves on, says so, and ends when asked', {
  skip: process.getuid?.() !== 0 && 'a small disk can be mounted by root alone',
}, async (t) => {
  const disk = mkdtempSync(join(tmpdir(), 'tunnel-log-disk-'))
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk])
  t.after(() => {
    if (status === 0) spawnSync('umount', ['-l', disk])
    rmdirSync(disk)
  })
  if (status !== 0) return t.skip('a tmpfs cannot be mounted here')
  const log = join(disk, 'log')
  const set = ['--set', 'log.level=trace', '--set', 'rateLimit.perIpPerMinute=1000000']
  const { proxy, url } = await startProxy(t, `head -c 1000000 /dev/zero > ${disk}/ballast;`, `>> ${log}`, set)
  const ready = async () => {
    const answer = await fetch(`${url}/api/tunnel/health/ready`)
    const { checks } = (await answer.json()) as { checks: Record<string, { detail?: string }> }
    return { status: answer.status, detail: checks.log?.detail }
  }
  // A computer that is busy is not ready for other reasons too.
  const isLost = async () => /ENOSPC/.test((await ready()).detail ?? '')
  // Each request is a few lines of the log.
  await until(async () => {
    const asked = Array.from({ length: 20 }, () => fetch(`${url}/nowhere/${'x'.repeat(180)}`))
    for (const answer of await Promise.all(asked)) await answer.arrayBuffer()
    return isLost()
  })
  assert.equal((await ready()).status, 503)
  await until(() => health(url))
  rmSync(join(disk, 'ballast'))
  await until(async () => !(await isLost()))
  assert.match(readFileSync(log, 'utf8'), /"lines of the log were lost"/)

  // And full again, to its end.
  spawnSync('sh', ['-c', `head -c 2000000 /dev/zero > ${disk}/ballast`])
  await until(isLost)
  proxy.kill('SIGTERM')
  assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
})

test('a log that nobody reads stops nothing, and its last lines keep the process no longer than a moment', {
  skip,
}, async (t) => {
  const fifo = join(await tempFolder(t, 'fifo'), 'log')
  spawnSync('mkfifo', [fifo])
  // Somebody has it open and never looks.
  const reader = openSync(fifo, 'r+')
  t.after(() => closeSync(reader))
  assert.ok(statSync(fifo).isFIFO())
  const { proxy, url } = await startProxy(t, '', `> ${fifo}`, ['--set', 'log.level=trace'])
  for (let round = 0; round < 20; round++) {
    const asked = Array.from({ length: 20 }, () => fetch(`${url}/nowhere/${'x'.repeat(180)}`))
    for (const answer of await Promise.all(asked)) await answer.arrayBuffer()
  }
  await until(() => health(url))
  proxy.kill('SIGTERM')
  assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
})

test('a terminal that has gone costs the lines of the log, and the proxy serves on', {
  skip: skip || requireSystem('script', 'setsid'),
}, async (t) => {
  const env = isolated(join(await tempFolder(t), 'state'))
  const port = await freePort()
  const words = shellLine([...TUNNEL, 'server', '--port', String(port), '--set', 'log.level=info'])
  // In a session of its own, so that the hang-up of the terminal is not told to it.
  const line = `setsid --fork sh -c 'echo pid=$$; exec ${words}'; exec sleep 300`
  const terminal = spawnProgram(t, 'script', ['-qefc', line, '/dev/null'], { env })
  const pid = Number((await terminal.line(/pid=(\d+)/))[1])
  const isRunning = () => processFacts(pid)?.zombie === false
  t.after(() => {
    if (isRunning()) process.kill(pid, 'SIGKILL')
  })
  const url = `http://127.0.0.1:${port}`
  await until(() => health(url))
  terminal.kill('SIGKILL')
  await terminal.exit
  const isLogLost = async () => {
    await fetch(`${url}/nowhere`)
    const { checks } = (await (await fetch(`${url}/api/tunnel/health/ready`)).json()) as Readiness
    return checks.log?.status === 'failed'
  }
  await until(isLogLost)
  await until(() => health(url))
  process.kill(pid, 'SIGTERM')
  await until(() => !isRunning())
})

interface Readiness {
  checks: Record<string, { status: string }>
}
