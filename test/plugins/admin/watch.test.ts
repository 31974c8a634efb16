import assert from 'node:assert/strict'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { startTestTunnel } from '../../../testing/index.ts'
import { isolated, startTunnel, tunnelLines } from '../../cli/tunnel.ts'
import { listenTcp, readAll, until } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'

interface Shown {
  direction?: string
  data?: string
  missedBytes?: number
  over?: boolean
  code?: string
}

const MIB = 1_048_576

test('an inspected stream is shown to its user and to an administrator, both ways, recorded, and is slowed by neither', async (t) => {
  await using tunnel = await startTestTunnel({ settings: ['server.docs=false'] })
  const { app, client, url } = tunnel
  const record = app.audit.record.bind(app.audit)
  const recorded: [string, unknown][] = []
  app.audit.record = (event) => {
    if (event.event.endsWith('watched')) recorded.push([event.event, event.details?.by])
    record(event)
  }
  const target = await listenTcp(t, (socket) => socket.pipe(socket))
  const stream = await client.open({ machine: tunnel.machine, kind: 'tcp', target })
  const echoed = async (text: string): Promise<void> => {
    stream.write(text)
    await once(stream, 'data')
  }
  const watch = async (id: string, token: string): Promise<IncomingMessage> => {
    const request = get(`${url}/api/tunnel/sessions/${id}/watch`, {
      headers: { authorization: `Bearer ${token}` },
    })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    return response
  }
  const refusal = async (id: string, token: string): Promise<[number | undefined, string]> => {
    const response = await watch(id, token)
    const { code } = JSON.parse(String(await readAll(response))) as { code: string }
    return [response.statusCode, code]
  }
  const { id } = stream.stream
  const root = tunnel.token('root', { roles: ['admin'] })

  await t.test('not to others, and a sealed one to nobody', async () => {
    assert.deepEqual(await refusal(id, tunnel.token('mallory')), [404, 'UNKNOWN_STREAM'])
    for (const roles of [['agent'], ['agent', 'admin']])
      assert.deepEqual(await refusal(id, tunnel.token(undefined, { roles })), [403, 'FORBIDDEN'])
    const sealed = await client.open({ machine: tunnel.machine, kind: 'ssh' })
    assert.deepEqual(await refusal(sealed.stream.id, root), [400, 'REQUEST_INVALID'])
    sealed.destroy()
  })

  await t.test('to a user with `tunnel sessions watch`, and no more than four at once', async () => {
    const env = isolated(await tempFolder(t, 'watch'), { TUNNEL_URL: url, TUNNEL_TOKEN: tunnel.token() })
    const program = startTunnel(t, ['sessions', 'watch', id, '--json'], { env })
    const watchers = (): number | undefined => app.forward.overview.list()[0]?.watchers
    await until(() => watchers() === 1)
    await echoed('typed')
    const typed = Buffer.from('typed').toString('base64')
    await program.line(`"direction":"in","data":"${typed}"`)
    await program.line(`"direction":"out","data":"${typed}"`)
    const others = await Promise.all([1, 2, 3].map(() => watch(id, root)))
    assert.deepEqual(await refusal(id, root), [429, 'TOO_MANY_CONNECTIONS'])
    for (const other of others) other.destroy()
    program.kill('SIGTERM')
    await until(() => watchers() === 0)
    const unknown = 'f'.repeat(32)
    for (const { code, stderr } of await tunnelLines(
      ['watch', 'end'].map((what) => ['sessions', what, unknown]),
      env,
    )) {
      assert.match(stderr, /no open stream of this id .*: `tunnel sessions` lists yours\n$/)
      assert.equal(code, 1)
    }
  })

  await t.test(
    'one who does not read misses something, holds a bounded part of it, and holds nobody up',
    async () => {
      const idle = await watch(id, root)
      idle.pause()
      let back = 0
      stream.on('data', (bytes: Buffer) => {
        back += bytes.length
      })
      const block = Buffer.alloc(MIB)
      for (let index = 0; index < 12; index++) stream.write(block)
      await until(() => back === 12 * MIB, 60_000)
      stream.end()
      await once(stream, 'close')
      const lines: Shown[] = []
      for await (const line of createInterface({ input: idle })) lines.push(JSON.parse(line) as Shown)
      const shown = lines.reduce((sum, { data = '' }) => sum + Buffer.from(data, 'base64').length, 0)
      const missed = lines.reduce((sum, { missedBytes = 0 }) => sum + missedBytes, 0)
      assert.equal(shown + missed, 24 * MIB)
      assert.ok(missed > 0, 'all was shown')
      assert.deepEqual(lines.at(-1), { over: true })
    },
  )

  await until(() => recorded.length === 10)
  assert.deepEqual(new Set(recorded.map(([event]) => event)), new Set(['stream.watched', 'stream.unwatched']))
  assert.deepEqual(recorded[0], ['stream.watched', tunnel.user])
})

test('whoever looks on does so no longer than their token holds', async () => {
  await using tunnel = await startTestTunnel({ settings: ['server.docs=false'] })
  const running = tunnel.client.exec(tunnel.machine, ['cat'], { stdin: new ReadableStream() })
  running.catch(() => {})
  const { overview } = tunnel.app.forward
  await until(() => overview.list()[0]?.state === 'open')
  const response = await fetch(`${tunnel.url}/api/tunnel/sessions/${overview.list()[0]?.id}/watch`, {
    headers: { authorization: `Bearer ${tunnel.token('root', { roles: ['admin'], ttlSeconds: 60 })}` },
  })
  assert.equal(response.headers.get('content-type'), 'application/x-ndjson')
  await tunnel.clock.turn(120_000)
  const last = (await response.text()).trimEnd().split('\n').at(-1) ?? ''
  assert.equal((JSON.parse(last) as Shown).code, 'TOKEN_EXPIRED')
})

test('of one user so many look on at once and no more, and who has gone before it began takes no place', async (t) => {
  await using tunnel = await startTestTunnel({ settings: ['server.docs=false'] })
  const target = await listenTcp(t, (socket) => socket.pipe(socket))
  const { overview } = tunnel.app.forward
  const ids: string[] = []
  for (let count = 0; count < 5; count++)
    ids.push((await tunnel.client.open({ machine: tunnel.machine, kind: 'tcp', target })).stream.id)
  const headers = { authorization: `Bearer ${tunnel.token()}` }
  const watch = (id: string | undefined) =>
    fetch(`${tunnel.url}/api/tunnel/sessions/${id}/watch`, { headers })
  const watchers = () => overview.list().reduce((sum, each) => sum + each.watchers, 0)
  const watching = await Promise.all(Array.from({ length: 16 }, (_, index) => watch(ids[index % 4])))
  const refused = await watch(ids[4])
  assert.equal(((await refused.json()) as { code: string }).code, 'TOO_MANY_CONNECTIONS')
  await watching[0]?.body?.cancel()
  await until(() => watchers() === 15)
  await until(async () => {
    const again = await watch(ids[4])
    const { status } = again
    await again.body?.cancel()
    return status === 200
  })
  for (const response of watching.slice(1)) await response.body?.cancel()
  await until(() => watchers() === 0)
})
