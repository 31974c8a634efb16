import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Agent } from '../../agent/index.ts'
import { TunnelService } from '../../client/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { descendants, ended } from '../support/proc.ts'
import type { Program } from '../support/process.ts'
import { drop, listenTcp, until } from '../support/proxy.ts'
import { startRedis } from '../support/redis.ts'
import { requireSystem } from '../support/system.ts'
import { WITHOUT_PAGES } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

const backoff = { baseMs: 20, maxMs: 200, maxAttempts: 200 }

/** How often the line is in what it printed. */
function count(program: Program, line: RegExp): number {
  return program.stdout.split('\n').filter((text) => line.test(text)).length
}

async function startWorkers(t: TestContext, workers: number) {
  const { url: redisUrl } = await startRedis(t)
  const state = join(await tempFolder(t), 'state')
  const env = isolated(state, {
    TUNNEL_STATE_STORE: 'redis',
    TUNNEL_STATE_REDIS_URL: redisUrl,
  })
  const proxy = startTunnel(t, ['server', '--port', '0', '--workers', String(workers)], {
    env: { ...env, ...WITHOUT_PAGES },
  })
  const [, url = ''] = await proxy.line(/listening.*(http:\/\/127\.0\.0\.1:\d+)/i)
  // Each of two has told of its link to the other.
  await until(() => count(proxy, /another replica is there/) >= workers * (workers - 1))
  const signed = await tunnel(['token', '--sub', 'alice', '--role', 'admin'], { env })
  return { proxy, url, state, env, token: signed.stdout.trim() }
}

test('several workers are one proxy', { skip: requireSystem('redis-server') }, async (t) => {
  const { proxy, url, state, token, env } = await startWorkers(t, 2)
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`${url}/api/tunnel/${path}`, {
      ...init,
      headers: { authorization: `Bearer ${token}`, connection: 'close', ...init.headers },
    })

  await t.test('a stream goes on, byte exact, when each of them is killed in turn', async (t) => {
    const ssh = await listenTcp(t, (socket) => socket.on('error', () => {}).pipe(socket))
    const settings = resolveSettings({}, 'default', { backoff })
    const agent = new Agent({ urls: [url], machine: 'home', token, ssh, settings })
    t.after(() => agent.close())
    await agent.start()
    const client = new TunnelService({ url, token, settings: { backoff } })
    t.after(() => client.disconnect(0))
    await client.connect()
    const stream = await client.open({ machine: 'home', kind: 'ssh' })
    let failure: Error | undefined
    stream.on('error', (error) => {
      failure = error
    })
    t.after(() => drop(stream))
    let heard = ''
    stream.on('data', (bytes: Buffer) => {
      heard += String(bytes)
    })
    let said = ''
    const say = async (text: string): Promise<void> => {
      said += text
      stream.write(text)
      await until(() => failure !== undefined || heard.length >= said.length)
      assert.ifError(failure)
      assert.equal(heard, said)
    }
    await say('before ')
    const first = descendants(proxy.pid).filter((pid) => pid !== proxy.pid)
    assert.equal(first.length, 2)
    for (const [index, pid] of first.entries()) {
      process.kill(pid, 'SIGKILL')
      await ended([pid])
      await say(`after ${pid} `)
      await until(() => count(proxy, /Server listening/) === 3 + index)
    }
    assert.equal(count(proxy, /"level":"ERROR".*"how":"SIGKILL".*a worker has ended/), 2)
  })

  await t.test('metrics are the sum of all', async () => {
    let text = ''
    await until(async () => {
      text = await (await ask('metrics')).text()
      // Each counts its end of the link between the two.
      return (
        /^tunnel_active_connections\{role="relay"\} 2$/m.test(text) &&
        /^tunnel_cluster_replicas 2$/m.test(text)
      )
    })
    assert.equal(text.match(/^# TYPE process_resident_memory_bytes /gm)?.length, 1)
  })

  await t.test(
    'status --cluster says which one answers, which there are, and who has which machine',
    async () => {
      const at = ['status', '--cluster', '--url', url]
      let shown = await tunnel([...at, '--token', token], { env })
      // It may not have been measured yet, nor told.
      for (
        ;
        !/^\S+ +there .* ms +\S+$/m.test(shown.stdout);
        shown = await tunnel([...at, '--token', token], { env })
      )
        assert.equal(shown.code, 0, shown.stderr)
      const [, id = ''] = /^worker (\S+) answers; .*; Redis answers it\n/.exec(shown.stdout) ?? []
      assert.match(shown.stdout, new RegExp(`^${id} +there +\\d+ +\\d+ +- +\\S+$`, 'm'))
      assert.match(shown.stdout, new RegExp(`^\\S+ +there +\\d+ +\\d+ +\\d+ ms +${id}$`, 'm'))
      const { stdout: alice } = await tunnel(['token', '--sub', 'alice'], { env })
      const refused = await tunnel([...at, '--token', alice.trim()], { env })
      assert.equal(refused.code, 5)
      assert.match(refused.stderr, /admin/)
    },
  )

  await t.test('whichever of them is asked, links and diagnostics cover both', async (t) => {
    let clients = 0
    const connect = async (): Promise<void> => {
      const client = new TunnelService({ url, token, settings: { backoff } })
      t.after(() => client.disconnect(0))
      await client.connect()
      clients++
    }
    await connect()
    const askedOf = new Set<string>()
    let placedAt = new Set<string>()
    await until(async () => {
      const told = (await (await ask('diagnostics')).json()) as {
        replica: string
        missing: string[]
        links: { replica: string }[]
      }
      // What was there before may be closing, and who has to answer may be late.
      if (told.links.length !== clients || told.missing.length > 0) return false
      placedAt = new Set(told.links.map(({ replica }) => replica))
      // Whichever is free takes a connection: it may be the same one several times.
      if (placedAt.size === 1) await connect()
      else askedOf.add(told.replica)
      return askedOf.size === 2
    })
    assert.deepEqual([...placedAt].sort(), [...askedOf].sort())
  })

  await t.test('without one of them there is no sum', async (t) => {
    const [silent] = descendants(proxy.pid).filter((pid) => pid !== proxy.pid) as [number]
    process.kill(silent, 'SIGSTOP')
    t.after(() => process.kill(silent, 'SIGCONT'))
    const answer = await ask('metrics')
    assert.equal(answer.status, 504)
    assert.match(await answer.text(), /another worker did not tell its metrics/)
  })

  await t.test('a patch, which would reach one of them, is refused', async () => {
    const patch = { 'content-type': 'application/merge-patch+json', 'if-match': '*' }
    const answer = await ask('config', { method: 'PATCH', headers: patch, body: '{"log":{"level":"warn"}}' })
    assert.equal(answer.status, 400)
    assert.match(await answer.text(), /several workers/)
  })

  await t.test('each keeps a trail of its own, and all end when the proxy is asked to', async () => {
    proxy.kill('SIGTERM')
    assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
    assert.deepEqual((await readdir(state)).filter((name) => name.startsWith('worker')).sort(), [
      'worker-1',
      'worker-2',
    ])
  })
})

test('what workers cannot share, and a start that fails, are told once', async (t) => {
  const env = isolated(join(await tempFolder(t), 'state'))
  const embedded = await tunnel(['server', '--port', '0', '--workers', '2'], { env })
  assert.equal(embedded.code, 2)
  assert.match(
    embedded.stderr,
    /^tunnel server: --workers 2 needs state.store = redis: .*--set state\.redisUrl=redis:\/\/.*\n$/,
  )
  const wrong = await tunnel(['server', '--workers', 'two'], { env })
  assert.equal(wrong.code, 2)
  assert.match(wrong.stderr, /--workers is a whole number from 1 to 128, not "two"/)
  const away = await tunnel(['server', '--port', '0', '--workers', '2', '--set', 'state.store=redis'], {
    env: { ...env, TUNNEL_STATE_REDIS_URL: 'redis://127.0.0.1:1' },
  })
  assert.notEqual(away.code, 0)
  assert.equal(away.stderr.trim().split('\n').length, 1, away.stderr)
})
