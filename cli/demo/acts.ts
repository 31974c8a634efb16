import { createHash, randomFillSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { shellWord } from '../../client/shell-words.ts'
import type { Narrator } from './narrator.ts'
import type { Scene } from './scene.ts'
import { endChild, finish } from './stage.ts'

const TRANSFER_MIB = 16
const COUNT = 40
/** The proxy is killed when the remote counter has come so far. */
const CUT_AT = 10
/** Where it waits for the proxy to be back. */
const WAIT_AT = 30
/** Name of the file that says so. */
const PROXY_BACK = 'proxy-back'

const seconds = (sinceMs: number): string => `${((performance.now() - sinceMs) / 1_000).toFixed(1)} s`

export async function sealedShell(scene: Scene, say: Narrator): Promise<void> {
  say.chapter('Your own ssh, sealed: the proxy relays bytes that it cannot read')
  say.command("tunnel ssh home 'echo hello from $(hostname)'")
  const began = performance.now()
  const { status, stdout, stderr } = await scene.ssh('echo hello from $(hostname)')
  say.said(stdout)
  say.check(
    status === 0 && stdout.startsWith('hello from'),
    `in ${seconds(began)}`,
    `status ${status}: ${stderr}`,
  )
}

export async function httpRequest(scene: Scene, say: Narrator): Promise<void> {
  say.chapter('An HTTP request to a service that only the machine can reach')
  say.command(`tunnel request http://home:${scene.webPort}/hello`)
  const began = performance.now()
  const { status, stdout, stderr } = await scene.stage.run(['request', `http://home:${scene.webPort}/hello`])
  say.said(stdout)
  say.check(status === 0 && stdout.includes('"hello"'), `in ${seconds(began)}`, `status ${status}: ${stderr}`)
}

export async function remoteCommand(scene: Scene, say: Narrator): Promise<void> {
  say.chapter('A command: stdin, stdout and stderr apart, and its exit status')
  const line = 'wc -c; echo to stderr >&2; exit 3'
  say.command(`echo -n 12345 | tunnel exec home -- ${shellWord(line)}; echo $?`)
  const { status, stdout, stderr } = await scene.stage.run(['exec', 'home', '--', line], { input: '12345' })
  say.said(`${stdout.trim()}\n${stderr.trim()}\n${status}`)
  const kept = status === 3 && stdout.trim() === '5' && stderr.trim() === 'to stderr'
  say.check(kept, 'all three kept', 'something was lost on the way')
}

/** A file that repeats nowhere, so that no compression flatters the rate. */
function writeRandomFile(path: string): string {
  const bytes = randomFillSync(Buffer.allocUnsafe(TRANSFER_MIB * 1_048_576))
  writeFileSync(path, bytes)
  return createHash('sha256').update(bytes).digest('hex')
}

export async function transfer(scene: Scene, say: Narrator): Promise<void> {
  say.chapter(`${TRANSFER_MIB} MiB through the sealed path`)
  const file = scene.stage.path('big.bin')
  const expected = writeRandomFile(file)
  say.command("tunnel ssh home 'cat big.bin' | sha256sum")
  const hash = createHash('sha256')
  let receivedBytes = 0
  let began = 0
  const { status, stderr } = await scene.ssh(`cat ${shellWord(file)}`, (chunk) => {
    // From the first byte on: the login is no part of the rate.
    if (receivedBytes === 0) began = performance.now()
    hash.update(chunk)
    receivedBytes += chunk.length
  })
  const tookSeconds = (performance.now() - began) / 1_000
  const found = hash.digest('hex')
  say.said(found)
  const rate = (receivedBytes / 1_048_576 / tookSeconds).toFixed(0)
  say.check(
    status === 0 && found === expected,
    `same checksum on both sides; ${rate} MiB/s`,
    `status ${status}, ${receivedBytes} bytes, checksum ${found} and not ${expected}: ${stderr}`,
  )
}

/** A counter runs over ssh while the proxy is killed without warning and started again. */
export async function cutAndResume(scene: Scene, say: Narrator): Promise<void> {
  say.chapter('The proxy is killed (SIGKILL) and started again under a running ssh')
  say.command(`tunnel ssh home 'count to ${COUNT}, slowly'`)
  const counter = startCounter(scene, say)
  await counter.reached(CUT_AT)
  const cutAt = performance.now()
  await endChild(scene.proxy, 'SIGKILL')
  const seen = counter.last()
  say.live(' [proxy killed]')
  await scene.restartProxy()
  say.live(' [proxy back]')
  writeFileSync(scene.stage.path(PROXY_BACK), '')
  await counter.reached(seen + 1)
  const gap = seconds(cutAt)
  const { status, stderr } = await counter.finished
  say.live('\n')
  const lines = counter.lines()
  const intact = lines.length === COUNT && lines.every((line, index) => line === String(index + 1))
  if (!say.isTerminal)
    say.said(`${lines.slice(0, seen).join(' ')} [proxy killed, and back] ${lines.slice(seen).join(' ')}`)
  say.check(
    intact && status === 0,
    `resumed after ${gap}, nothing lost: 1 to ${COUNT}, each once, exit status ${status}`,
    `status ${status}, lines ${lines.join(' ')}: ${stderr}`,
  )
}

function startCounter(scene: Scene, say: Narrator) {
  const [folder, back] = [scene.stage.path('.'), scene.stage.path(PROXY_BACK)].map(shellWord)
  // However slow the machine is, the last numbers come after the restart; a demo that is gone is not waited for.
  const wait = `[ $i -ne ${WAIT_AT} ] || while [ -d ${folder} ] && [ ! -e ${back} ]; do sleep 0.1; done`
  const script = `i=0; while [ $i -lt ${COUNT} ]; do i=$((i+1)); echo $i; ${wait}; sleep 0.1; done`
  let text = ''
  let ended = false
  const waiting = new Set<{ count: number; resolve: () => void; reject: (error: Error) => void }>()
  const lines = (): string[] => text.split('\n').slice(0, -1)
  const child = scene.startSsh(script)
  say.live('  ')
  const finished = finish(child, 'the counter', (chunk) => {
    const before = lines().length
    text += chunk.toString()
    for (const line of lines().slice(before)) say.live(` ${line}`)
    for (const waiter of waiting) {
      if (lines().length < waiter.count) continue
      waiting.delete(waiter)
      waiter.resolve()
    }
  })
  const failAll = (error: Error): void => {
    ended = true
    for (const { reject } of waiting) reject(error)
    waiting.clear()
  }
  finished.then(({ stderr }) => failAll(new Error(`the counter ended early: ${stderr.trim()}`)), failAll)
  return {
    finished,
    lines,
    last: () => lines().length,
    reached: (count: number) =>
      new Promise<void>((resolve, reject) => {
        if (lines().length >= count) resolve()
        else if (ended) reject(new Error('the counter ended early'))
        else waiting.add({ count, resolve, reject })
      }),
  }
}

const SHOWN_METRICS = [
  /^tunnel_active_connections\{role="(client|agent)"\}/,
  /^tunnel_bytes_total\{.*sealed/,
  /^tunnel_stream_resumes_total\{/,
  /^tunnel_requests_total\{/,
]

export async function healthAndMetrics(scene: Scene, say: Narrator): Promise<void> {
  say.chapter('Health, and a few of the metrics of the proxy since its restart')
  say.command('tunnel status')
  const { status, stdout, stderr } = await scene.stage.run(['status'])
  say.said(status === 0 ? stdout : stderr)
  say.command(`curl ${scene.url}/api/tunnel/metrics`)
  const response = await fetch(`${scene.url}/api/tunnel/metrics`)
  const metrics = (await response.text())
    .split('\n')
    .filter((line) => SHOWN_METRICS.some((shown) => shown.test(line)))
  say.said(metrics.join('\n'))
  say.check(
    status === 0 && response.ok && metrics.length > 0,
    'ready',
    `status ${status}, metrics ${response.status}`,
  )
}
