import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startProxy } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

test('--watch tells what is on line whenever that changes, through an outage, until Ctrl-C', async (t) => {
  const proxy = await startProxy(t)
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  const watching = startTunnel(t, ['machines', '--watch', '--json'], { env })
  await watching.line(/^\[\]$/)
  const agent = await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  await watching.line(/^\[\{"owner":"alice","name":"home",.*"online":true/)
  await agent.close()
  await watching.line(/"online":false/)
  await proxy.close()
  await watching.line(/^\{"error":\{"code":"CONNECT_REFUSED"/)
  watching.kill('SIGINT')
  assert.deepEqual(await watching.exit, { code: 0, signal: null })
  assert.equal(watching.stderr, '')
  const late = await tunnel(['machines', '--watch'], { env })
  assert.equal(late.code, 4, late.stderr)
})

test('a machine that there is not is told with the one that is meant', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  for (const words of [
    ['exec', 'hom', '--', 'true'],
    ['machines', '--forget', 'hmoe'],
  ]) {
    const { stderr } = await tunnel(words, { env })
    assert.match(stderr, /you have no machine named \w+; did you mean home\?/)
  }
  const others = { ...env, TUNNEL_TOKEN: proxy.tokenOf('bob') }
  assert.doesNotMatch((await tunnel(['exec', 'hom', '--', 'true'], { env: others })).stderr, /home/)
})
