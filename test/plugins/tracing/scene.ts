import { userInfo } from 'node:os'
import type { TracingOptions } from '../../../plugins/tracing/options.ts'
import { newKeyPair, startSshServer } from '../../../testing/ssh-server.ts'
import { Collector } from '../../support/otlp.ts'
import { startProxy, type TestProxy } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { startService } from '../../support/service.ts'

/** A proxy that traces, the collector that it tells, and `home` of alice's with a service. */
export interface Scene {
  proxy: TestProxy
  collector: Collector
  /** Of the service. */
  port: number
  /** The `traceparent`s and `tracestate`s that the service was told, in order. */
  asked: [string | undefined, string | undefined][]
  /** What the proxy has to tell is told. */
  flush(): Promise<void>
}

export async function startScene(
  scope: Scope,
  options: Partial<TracingOptions> = {},
  set: string[] = [],
): Promise<Scene> {
  const collector = await Collector.listen(scope)
  const asked: Scene['asked'] = []
  const port = await startService(scope, ({ headers: { traceparent, tracestate } }, response) => {
    asked.push([traceparent, tracestate] as Scene['asked'][number])
    response.end('hello')
  })
  const chosen = Object.entries({ exporter: 'otlp', url: collector.url, ...options })
  const flags = [...chosen.map(([name, value]) => `tracing.${name}=${value}`), ...set]
  const proxy = await startProxy(scope, { set: flags })
  const sshServer = await startSshServer({
    hostKey: newKeyPair('host key').private,
    user: userInfo().username,
    authorizedKeys: () => proxy.app.ssh.publicKey('alice'),
  })
  scope.after(() => sshServer.close())
  await proxy.startAgent('home', 'alice', `127.0.0.1:${sshServer.port}`)
  return {
    ...{ proxy, collector, port, asked },
    flush: () => (proxy.app.tracing as unknown as { flush(): Promise<void> }).flush(),
  }
}
