import client, { type Registry } from 'prom-client'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { type Catalogue, makeCatalogue } from './catalogue.ts'
import { type Count, Instruments, type NoLabels } from './instruments.ts'
import { boundsWithFraction, prometheusText, withoutEnd } from './text.ts'

/** Of one registry, as prom-client gives and takes it. */
export type WorkerMetrics = object[]

/** The metrics of one server, and how they are read. */
export interface TunnelMetrics extends Catalogue {
  countError(error: TunnelError): void
  /** `sample` runs before each reading, for levels that are cheaper to read than to follow. It must not reject. */
  onRead(sample: () => void | Promise<void>): void
  /** Has `counter` say what somebody else counts: how many there are by now, from 0. */
  follow(counter: Count<NoLabels>, total: () => number | undefined): void
  /** The process' own metrics included, and those of other workers, in the format that is asked for. */
  read(format?: 'prometheus' | 'openmetrics'): Promise<string>
  /** What `read` tells of this process, for another worker to add up. */
  readHere(): Promise<WorkerMetrics[]>
  /** Where a plugin registers metrics of its own. */
  readonly registry: Registry
}

let processRegistry: Registry | undefined

/** CPU, memory and event loop belong to the process: one set, however many servers a process has. */
function processMetrics(): Registry {
  if (processRegistry === undefined) {
    processRegistry = createRegistry()
    client.collectDefaultMetrics({ register: processRegistry })
  }
  return processRegistry
}

/** Of the format that has exemplars; the other is made of it. */
export function createRegistry(): Registry {
  const registry = new client.Registry()
  registry.setContentType(client.Registry.OPENMETRICS_CONTENT_TYPE as never)
  return registry
}

/**
 * The metrics of one server, on the registry that is its own.
 * @param others those of other workers, whom the same port answers for
 */
export function createMetrics(
  registry: Registry,
  others?: (() => Promise<WorkerMetrics[]>) | undefined,
): TunnelMetrics {
  const catalogue = makeCatalogue(new Instruments(registry))
  const samples: (() => void | Promise<void>)[] = []
  const textHere = async (): Promise<string> => {
    await Promise.all(samples.map((sample) => sample()))
    const [own, process] = await Promise.all([registry.metrics(), processMetrics().metrics()])
    return `${withoutEnd(own)}${process}`
  }
  const readHere = async (): Promise<WorkerMetrics[]> => {
    await Promise.all(samples.map((sample) => sample()))
    return await Promise.all([registry.getMetricsAsJSON(), processMetrics().getMetricsAsJSON()])
  }
  return {
    ...catalogue,
    countError(error) {
      catalogue.errors.inc({ category: error.category, code: error.code })
    },
    onRead(sample) {
      samples.push(sample)
    },
    follow(counter, total) {
      let counted = 0
      samples.push(() => {
        const now = total() ?? 0
        counter.inc({}, now - counted)
        counted = now
      })
    },
    async read(format = 'prometheus') {
      const text =
        others === undefined ? await textHere() : await sumOf([...(await readHere()), ...(await others())])
      return format === 'openmetrics' ? boundsWithFraction(text) : prometheusText(text)
    },
    readHere,
    registry,
  }
}

/** Of several workers one text: sums, but for what says how it is to be taken together. Exemplars are left out. */
function sumOf(metrics: WorkerMetrics[]): Promise<string> {
  const registry = client.AggregatorRegistry.aggregate(metrics)
  registry.setContentType(client.Registry.OPENMETRICS_CONTENT_TYPE as never)
  return registry.metrics()
}
