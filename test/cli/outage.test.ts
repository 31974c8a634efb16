import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { until } from '../support/proxy.ts'
import { requireSystem } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { TUNNEL } from './tunnel.ts'
import { buildWayInside } from './way.ts'

const skip = requireSystem('sshd', 'script') ?? requirePty()
const MIB = 1_048_576
const CTRL_C = '\u0003'
/** The second try then comes as late as it may. */
const LONG_WAITS = { TUNNEL_BACKOFF_BASE_MS: '60000', TUNNEL_BACKOFF_MAX_MS: '60000' }

async function networkThatGoes(t: TestContext) {
  const way = await buildWayInside(t)
  const relay = await FaultRelay.listen(t, { target: { host: '127.0.0.1', port: way.port } })
  const env = { ...way.env, ...LONG_WAITS, TUNNEL_URL: relay.url, TERM: 'dumb' }
  const lose = (): void => {
    relay.refusing = true
    relay.cut()
  }
  const come = (): void => {
    relay.refusing = false
  }
  return { env, relay, lose, come }
}

test('Enter cuts the wait for a lost link short, and one line says how long the outage was', {
  skip,
}, async (t) => {
  const { env, lose, come } = await networkThatGoes(t)
  const session = onTerminal(t, [...TUNNEL, 'stdio', 'home'], { env, stdin: 'pipe' })
  await session.line(/^SSH-2\.0-/)
  lose()
  const [, seconds] = await session.line(
    /home: link lost, next try in (\d+) s \(Enter tries now, Enter ~ \. /,
  )
  const wouldTryMs = performance.now() + (Number(seconds) - 1) * 1_000
  come()
  session.write('\n')
  const [, took] = await session.line(/home: resumed after (\d+\.\d) s, nothing lost/)
  assert.ok(performance.now() < wouldTryMs, `it was to wait ${seconds} s, and the outage took ${took} s`)
  session.write(CTRL_C)
  // To sshd that Enter is no greeting: it may hang up first, which is an orderly end.
  const { code } = await session.exit
  assert.ok(code === 130 || code === 0, `${code}`)
})

/** What runs when the link goes: what it says when it does, and how it ends. */
const RUNNING: readonly [words: string[], runs: RegExp, status: number, said?: RegExp][] = [
  [['stdio', 'home'], /^SSH-2\.0-/, 130],
  // The first Ctrl-C is for the command there.
  [['exec', 'home', '--', 'echo runs; exec cat'], /^runs/, 130, /again ends the connection/],
  [['forward', '0:home:127.0.0.1:1'], /Ctrl-C ends/, 0],
  [['socks', 'home', '--listen', '127.0.0.1:0'], /Ctrl-C ends/, 0],
  [['machines', '--watch'], /on line/, 0],
  [['cp', 'big', 'home:FOLDER/far'], /%/, 130, /the\s+same\s+command\s+goes\s+on|stopped/],
]

test('Ctrl-C ends what waits for a lost link, at once', { skip }, async (t) => {
  const { env, relay, lose, come } = await networkThatGoes(t)
  const folder = await tempFolder(t)
  await writeFile(join(folder, 'big'), Buffer.alloc(32 * MIB))
  for (const [words, runs, status, said] of RUNNING) {
    const [command] = words
    relay.throttle(command === 'cp' ? 4 * MIB : Number.POSITIVE_INFINITY)
    const line = [...TUNNEL, ...words.map((word) => word.replace('FOLDER', folder))]
    const program = onTerminal(t, line, { env, cwd: folder, stdin: 'pipe' })
    await program.line(runs)
    lose()
    // One that only asks now and then may have no connection just now.
    await until(() => relay.size === 0)
    program.write(CTRL_C)
    if (command === 'exec') {
      await program.line(said!)
      program.write(CTRL_C)
    }
    assert.equal((await program.exit).code, status, `${command}: ${program.stdout}`)
    if (said !== undefined) assert.match(program.stdout, said)
    come()
  }
  const left = readdirSync(folder).filter((name) => name !== 'big' && name !== 'far.tunnel-part')
  assert.deepEqual(left, [])
})
