/**
 * V8 makes a map's table anew each time that as many have left as there is room for, and the former one refers to it.
 * Where that has grown old, the young collector takes it for alive though nobody has it, and so for as long as the map
 * lives each table and whatever stood in it when it was replaced: of streams that come and go, half. What it then copies
 * is most of its work. So these begin with a map of their own before V8 does.
 */
const MOST = 64

/** A map whose entries come and go by the thousand. Whoever looks at them while it changes may see those that were there. */
export class ChurningMap<K, V> {
  #map = new Map<K, V>()
  #added = 0

  get size(): number {
    return this.#map.size
  }

  get(key: K): V | undefined {
    return this.#map.get(key)
  }

  has(key: K): boolean {
    return this.#map.has(key)
  }

  set(key: K, value: V): void {
    this.#added++
    if (this.#added > MOST && this.#added > 2 * this.#map.size) {
      this.#map = new Map(this.#map)
      this.#added = this.#map.size
    }
    this.#map.set(key, value)
  }

  delete(key: K): boolean {
    return this.#map.delete(key)
  }

  keys(): MapIterator<K> {
    return this.#map.keys()
  }
  values(): MapIterator<V> {
    return this.#map.values()
  }

  clear(): void {
    this.#map = new Map()
    this.#added = 0
  }
}

/** As `ChurningMap`. */
export class ChurningSet<T> {
  readonly #items = new ChurningMap<T, true>()

  get size(): number {
    return this.#items.size
  }
  /** The one that has been here for longest. */
  get first(): T | undefined {
    return this.#items.keys().next().value
  }

  has(item: T): boolean {
    return this.#items.has(item)
  }

  add(item: T): void {
    this.#items.set(item, true)
  }

  delete(item: T): boolean {
    return this.#items.delete(item)
  }

  [Symbol.iterator](): MapIterator<T> {
    return this.#items.keys()
  }

  clear(): void {
    this.#items.clear()
  }
}
