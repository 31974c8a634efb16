// `npm run tabs`: five tabs, one queue of 500 requests, the tab that has it killed 50 times. Fails where a request has not
// one outcome, or no other tab has the queue in time.
import { median } from '../../../bench/report.ts'
import { startProxy } from '../../support/proxy.ts'
import { Cleanup } from '../../support/scope.ts'
import { startSshd } from '../../support/sshd.ts'
import { servePages, startChromium } from './chromium.ts'
import { rescue } from './tabs.ts'
import { startTarget } from './target.ts'

/** Until another tab has the queue, in ms. */
const MAX_TAKEOVER_MS = 500

const scope = new Cleanup()
try {
  const origin = await servePages(scope)
  const proxy = await startProxy(scope, { set: [`server.origins=["${origin}"]`] })
  const target = await startTarget(scope)
  await proxy.startAgent('home', 'alice', await startSshd(scope))
  const stage = { url: proxy.url, token: proxy.tokenOf('alice'), base: `http://home:${target.port}` }
  const context = await startChromium(scope)
  const { takeoverMs, ...told } = await rescue({ context, origin, stage, target, kills: 50, requests: 500 })
  const late = takeoverMs.filter((ms) => ms > MAX_TAKEOVER_MS).length
  const [medianMs, slowestMs] = [median(takeoverMs), Math.max(...takeoverMs)].map(Math.round)
  console.log(JSON.stringify({ ...told, medianMs, slowestMs, late }, null, 2))
  if (told.wrong.length > 0 || late > 0) process.exitCode = 1
} finally {
  await scope.close()
}
