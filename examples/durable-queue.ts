/**
 * Orders that survive a crash. Each is on disk before it is told as accepted; kill the program whenever you like, and run
 * it again: what has no answer yet is sent then, and nothing is carried out twice.
 *
 *     TUNNEL_URL=https://tunnel.example.com TUNNEL_TOKEN=… npx tsx examples/durable-queue.ts FOLDER home 8080 tea cake
 */
import { fileURLToPath } from 'node:url'
import { type QueuedRequest, type TunnelError, TunnelService } from '../client/index.ts'

const [, program, dir = '', machine = '', port = '', ...orders] = process.argv

async function main(): Promise<void> {
  const { TUNNEL_URL: url = 'http://127.0.0.1:3001', TUNNEL_TOKEN: token = '' } = process.env
  await using tunnel = new TunnelService({ url, token, settings: { queue: { dir } } })
  const outcomes: Promise<void>[] = []
  const watch = (name: string, { response }: QueuedRequest) => {
    const told = response.then(
      (answer) => console.log(`${name}: ${answer.status} ${answer.text()}`),
      // OUTCOME_UNKNOWN cannot happen here: the service knows the Idempotency-Key.
      (error: TunnelError) => console.log(`${name}: ${error.code} ${error.message}`),
    )
    outcomes.push(told)
  }
  // Before connect(): this is when what an earlier run has left is told.
  tunnel.on('restored', (requests) => {
    for (const restored of requests)
      watch(`left over: ${new TextDecoder().decode(restored.request.body)}`, restored)
  })
  await tunnel.connect()

  for (const order of orders) {
    const queued = tunnel.enqueue({
      machine,
      port: Number(port),
      method: 'POST',
      path: '/orders',
      body: order,
      priority: 'high',
      // The service tells a repetition by the Idempotency-Key, so that the order may be sent again.
      idempotent: true,
    })
    watch(order, queued)
    await queued.accepted
    console.log(`${order}: accepted`)
  }
  await Promise.all(outcomes)
}

if (program === fileURLToPath(import.meta.url)) await main()
