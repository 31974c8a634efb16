import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { format } from 'node:util'
import { transform } from 'esbuild'
import * as client from '../../client/index.ts'
import { startProxy } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { startTarget } from './web/target.ts'

const DOCUMENT = join(import.meta.dirname, '../../docs/API.md')
/** What of an example's output has to be there, by a part of the example. */
const SAYS: [of: string, said: RegExp][] = [
  ["profile: 'unstable-network'", /"?method"?: '?GET.*\n200 .*"method":"PUT".*"body":"on"/s],
  ['tunnel.exec', /^0 these words stay as they are\n.*HTTP\/1\.1 200 OK.*hello\n.*\{ code: 3 \}/s],
  ["tunnel.on('state'", /^connected \{ state: 'connected'/],
  ['new AbortController', /"method":"GET"/],
  ['new TunnelService({ url, token, settings: { queue', /^200\n$/],
  ['error instanceof TunnelError', /^MACHINE_UNKNOWN configuration proxy\nstart /],
  ['tokenFile(', /^connected\n/],
  ['metrics.snapshot', /tunnel_client_requests_total/],
  ['runDiagnostics', /upgrade ok .*all is well/s],
  ['addHook', /^\/ 200 [\d.]+\n/],
]

/** A fence as the body of a function: imports come from the library, and `await using` runs on Node 20. */
async function compile(fence: string): Promise<(names: Record<string, unknown>) => Promise<void>> {
  const body = fence.replace(
    /^import (\{[^}]*\}) from 'ssh-websocket-tunnel\/client'$/gm,
    'const $1 = client',
  )
  const source = `export default async ({ client, tunnel, url, token, console }) => {\n{\n${body}\n}\n}`
  const { code } = await transform(source, { loader: 'ts', target: 'node20', format: 'cjs' })
  const module = { exports: {} as { default: (names: Record<string, unknown>) => Promise<void> } }
  new Function('module', code)(module)
  return module.exports.default
}

test('every example in docs/API.md runs as it stands', { skip: requireSystem('sshd') }, async (t) => {
  const [proxy, sshd, target, folder] = await Promise.all([
    startProxy(t),
    startSshd(t),
    startTarget(t),
    tempFolder(t),
  ])
  await proxy.startAgent('home', 'alice', sshd)
  const [url, token] = [proxy.url, proxy.tokenOf('alice')]
  await writeFile(join(folder, 'token'), token, { mode: 0o600 })
  const fences = [...(await readFile(DOCUMENT, 'utf8')).matchAll(/^```ts\n(.*?)^```$/gms)]
  assert.equal(fences.length, SAYS.length)
  for (const [, fence = ''] of fences) {
    const [name, said] = SAYS.find(([part]) => fence.includes(part)) ?? assert.fail(fence)
    await t.test(name, async () => {
      const run = await compile(
        fence
          .replaceAll('8080', String(target.port))
          .replaceAll('/var/lib/my-program', folder)
          .replaceAll('/etc/my-program', folder),
      )
      const tunnel = await proxy.connect('alice')
      let output = ''
      const log = (...values: unknown[]) => {
        output += `${format(...values)}\n`
      }
      await run({ client, tunnel, url, token, console: { log } })
      await tunnel.disconnect(0)
      assert.match(output, said)
    })
  }
})
