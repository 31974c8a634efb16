// In the place of the proxy's own plugin for traces: nothing of it is there.
import fp from 'fastify-plugin'

const tracing = {
  during: (_name, work) => work(),
  traceContext: () => ({}),
  link: () => undefined,
  stream: () => undefined,
}

export default fp(async (app) => void app.decorate('tracing', tracing), {
  name: 'tunnel-tracing',
  fastify: '5.x',
})
