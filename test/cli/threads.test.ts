import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import test from 'node:test'
import { lookupsAtOnce } from '../../cli/threads.ts'
import { spawnProgram } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { BUILT_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated } from './tunnel.ts'

const skip = process.platform === 'linux' ? undefined : 'counts threads where Linux shows them'

/** The threads of an agent that has begun to use those which libuv has for files and names. */
async function threadsOf(scope: Scope, size: string | undefined): Promise<() => number> {
  const access = { TUNNEL_URL: 'http://127.0.0.1:1', TUNNEL_TOKEN: 'x' }
  const env = isolated(await tempFolder(scope, 'threads'), access)
  delete env.UV_THREADPOOL_SIZE
  if (size !== undefined) env.UV_THREADPOOL_SIZE = size
  const agent = spawnProgram(scope, process.execPath, [BUILT_CLI, 'agent', '--machine', 'home'], { env })
  await agent.line(/dialling again/)
  return () => readdirSync(`/proc/${agent.pid}/task`).length
}

test('the command gives an agent more threads for slow names than Node does, and as many as its environment says', {
  skip,
}, async (t) => {
  const [own, few, most] = await Promise.all([threadsOf(t, undefined), threadsOf(t, '4'), threadsOf(t, '16')])
  // Node's other threads are as many in each of them, once all have begun.
  await until(() => most() - few() === 12 && own() - few() === 12)
})

test("names of users leave one of the threads that the resolver may have to the process's own", () => {
  for (const [threads, lookups] of [
    [1, 2],
    [4, 2],
    [8, 3],
    [16, 7],
    [64, 31],
  ] as const)
    assert.equal(lookupsAtOnce(threads), lookups)
})
