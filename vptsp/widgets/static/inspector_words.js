// What the inspector's columns and panels mean: a sentence, and the formula. Written as JSON.
export const MEANINGS = {
  "class": ["The class that the proxy stands for, with its first training images.", ""],
  "images": ["How many training images the class has.", ""],
  "R@1 among training images": [
    "Share of the class's training images whose nearest other training image is of the class.",
    "right / all, 0 to 1"
  ],
  "cosine to own mean": [
    "How well the proxy points to where its class's images are now; 1 is the same direction.",
    "cos(proxy, mean of the embeddings of its training images)"
  ],
  "nearest rival": [
    "How near the nearest proxy of another class is; higher than to the own mean is a warning.",
    "largest cos(proxy, proxy of another class)"
  ],
  "drift": [
    "How far a point has turned since the first epoch that was kept.",
    "1 - cos(at the first epoch, at this epoch), 0 to 2"
  ],
  "prompt norm": [
    "How long the class's prompts are, on average over its prompts and their blocks.",
    "mean of |prompt|, in the units of the tokens"
  ],
  "its images": ["Training images of the class, in the order of the data.", ""],
  "proxy": [
    "The training images nearest to the proxy that the loss uses; a dashed frame is another class.",
    "the largest cos(proxy, embedding)"
  ],
  "semantic": [
    "The training images nearest to the memory, which is gathered from the class's images.",
    "the largest cos(memory, embedding)"
  ],
  "bias": [
    "The training images nearest to the bias, the vector that is learned for the class.",
    "the largest cos(bias, embedding)"
  ],
  "confused with": [
    "Other proxies that are close, and the classes that the class's images are taken for.",
    "cos(proxy, other proxy); images whose nearest training image is of another class"
  ],
  "cosine over epochs": [
    "Do the points follow their class? The mean is that of the class's images at the same epoch.",
    "cos(point, mean of the embeddings of its training images), -1 to 1"
  ],
  "prompt norms": [
    "How long the class's prompts are in each block that has some.",
    "mean of |prompt| over the prompts of the block"
  ]
};

// What the points of a class are, in the key of a chart.
export const POINTS = {
  "proxy": "proxy: the mixture that the loss uses",
  "semantic": "memory: gathered from images",
  "bias": "bias: learned"
};
