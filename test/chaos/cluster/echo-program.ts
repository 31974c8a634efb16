// A stream that is typed into all the time, and how long each echo took: `echo.ts` starts it and asks.
import { Agent } from '../../../agent/index.ts'
import { TunnelService } from '../../../client/index.ts'
import { resolveSettings } from '../../../client/settings.ts'
import { listenTcp } from '../../support/proxy.ts'
import { Cleanup } from '../../support/scope.ts'
import { MACHINE } from '../../support/topology.ts'
import type { EchoOrder } from './echo.ts'

const TYPE_MS = 50

let echoesMs: number[] = []

async function begin({ urls, token }: EchoOrder): Promise<void> {
  // It ends by SIGKILL.
  const ssh = await listenTcp(new Cleanup(), (socket) => socket.setNoDelay(true).pipe(socket))
  const agent = new Agent({ urls, machine: MACHINE, token, ssh, settings: resolveSettings({}, 'default') })
  await agent.start()
  const client = new TunnelService({ url: [...urls], token })
  await client.connect()
  const stream = await client.open({ machine: MACHINE, kind: 'ssh' })
  stream.on('error', () => {}) // Told by echoes that do not come.
  const typedMs: number[] = []
  stream.on('data', (bytes: Buffer) => {
    for (const _ of bytes) echoesMs.push(performance.now() - (typedMs.shift() ?? 0))
  })
  setInterval(() => {
    typedMs.push(performance.now())
    stream.write('.')
  }, TYPE_MS)
}

process.on('message', async (order: EchoOrder | 'take') => {
  if (order !== 'take') await begin(order)
  process.send?.(echoesMs)
  echoesMs = []
})
process.on('disconnect', () => process.exit(0))
process.send?.([])
