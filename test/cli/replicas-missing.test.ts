import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnelLines } from './tunnel.ts'

/** A proxy as far as these questions go, one of three replicas, which hears nothing of `missing`. */
async function startAnswering(t: TestContext, missing: () => Record<string, string>) {
  const cluster = {
    ...{ enabled: true, id: 'a', isWorker: false, stateAvailable: true, isStarting: false },
    ...{ missing: ['b'], machines: [], machineCount: 0 },
    replicas: ['a', 'c'].map((id) => ({ id, software: 'x', load: 0, streams: 0, draining: false })),
  }
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    response.writeHead(200, { 'content-type': 'application/json', ...missing() })
    response.end(JSON.stringify(request.url?.endsWith('/cluster') === true ? cluster : []))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return isolated(await tempFolder(t), { TUNNEL_URL: url, TUNNEL_TOKEN: 'x' })
}

const TOLD = 'warning: 1 of 3 replicas did not answer: b (REPLICA_MISSING)\n'

test('an answer that lacks a replica says so in one line on stderr, and stdout stays as it is', async (t) => {
  const env = await startAnswering(t, () => ({
    'tunnel-replicas-missing': 'b',
    'tunnel-replicas': '3',
  }))
  const [sessions, links, json, cluster] = await tunnelLines(
    [['sessions'], ['sessions', '--links'], ['sessions', '--json'], ['status', '--cluster']],
    env,
  )
  assert.deepEqual(
    [sessions?.code, sessions?.stdout, sessions?.stderr],
    [0, 'no stream is open\n', `tunnel sessions: ${TOLD}`],
  )
  assert.deepEqual([links?.stdout, links?.stderr], ['no link is open\n', `tunnel sessions: ${TOLD}`])
  assert.deepEqual([json?.code, JSON.parse(json?.stdout ?? '')], [0, []])
  assert.deepEqual(JSON.parse(json?.stderr ?? ''), {
    warning: {
      command: 'tunnel sessions',
      code: 'REPLICA_MISSING',
      message: '1 of 3 replicas did not answer: b',
    },
  })
  assert.deepEqual([cluster?.code, cluster?.stderr], [0, `tunnel status: ${TOLD}`])
})

test('a proxy of an earlier version does not say how many replicas there are; what is no name cannot harm a terminal', async (t) => {
  let missing: Record<string, string> = { 'tunnel-replicas-missing': 'b, %1b[2J' }
  const env = await startAnswering(t, () => missing)
  const [older] = await tunnelLines([['sessions']], env)
  assert.equal(
    older?.stderr,
    'tunnel sessions: warning: replicas of the proxy did not answer: b, \ufffd[2J (REPLICA_MISSING)\n',
  )
  missing = { 'tunnel-replicas-missing': '%', 'tunnel-replicas': 'many' }
  const [odd] = await tunnelLines([['sessions']], env)
  assert.equal(
    odd?.stderr,
    'tunnel sessions: warning: replicas of the proxy did not answer: % (REPLICA_MISSING)\n',
  )
  missing = {}
  const [whole] = await tunnelLines([['sessions']], env)
  assert.deepEqual([whole?.stdout, whole?.stderr], ['no stream is open\n', ''])
})

test('a replica that has more than it could tell is named, beside one that did not answer', async (t) => {
  const env = await startAnswering(t, () => ({
    'tunnel-replicas-missing': 'b',
    'tunnel-replicas': '3',
    'tunnel-replicas-cut': 'c, d%20e',
  }))
  const [sessions] = await tunnelLines([['sessions']], env)
  assert.equal(
    sessions?.stderr,
    'tunnel sessions: warning: 1 of 3 replicas did not answer: b; more than is shown here is at c, d e (REPLICA_MISSING)\n',
  )
})

test('whoever watches the sessions sees the gap below them for as long as there is one', async (t) => {
  const env = await startAnswering(t, () => ({ 'tunnel-replicas-missing': 'b', 'tunnel-replicas': '3' }))
  const watching = startTunnel(t, ['sessions', '--watch'], { env })
  await watching.line(/^1 of 3 replicas did not answer: b$/, 'stdout')
  watching.child.kill('SIGINT')
  assert.equal((await watching.exit).code, 0)
  assert.equal(watching.stderr, '')
})
